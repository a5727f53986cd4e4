"""State that an execution environment keeps between invocations, and the settings of each one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from relay_metrics import settings
from relay_metrics.deliver.spool import Spool
from relay_metrics.errors import SecretError, SettingsError
from relay_metrics.net.http import Client
from relay_metrics.observability import hide, logger
from relay_metrics.relays import kinds
from relay_metrics.settings import Settings
from relay_metrics.settings.secrets_manager import Provider, Secret

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Runtime:
    """Connections, the secret, and the sessions and ids at relays.

    It only saves time: a new execution environment starts without any of it, with equal results.

    Args:
        variables: used in place of the process's environment.
        provider: reads the secret.
        sqs: the client of SQS.
        clock: returns epoch nanoseconds; the timestamp of a run comes from it.

    Raises:
        SettingsError: a variable is wrong.
    """

    def __init__(
        self,
        variables: Mapping[str, str] | None = None,
        provider: Provider | None = None,
        sqs: SQSClient | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.clock = clock
        self.environment = settings.environment(variables)
        logger.setLevel(self.environment.log_level)
        secret_id, url = self.environment.secret_id, self.environment.spool_queue_url
        age = self.environment.secret_max_age_s
        self.secret = (
            None
            if secret_id is None
            else Secret(secret_id, age, provider, sam_local=self.environment.sam_local)
        )
        self.spool = None if url is None else Spool(url, sqs)
        self.settings: dict[bool, Settings] = {}
        self._clients: dict[str | None, Client] = {}
        self._states: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, ca_pem: str | None) -> Client:
        """The HTTP client that trusts these certificates (PEM) in addition to the public ones."""
        with self._lock:
            if ca_pem not in self._clients:
                self._clients[ca_pem] = Client(self.environment.concurrency, ca_pem)
            return self._clients[ca_pem]

    def state(self, kind: str) -> Any:
        """The state that runs keep for relays of a kind."""
        with self._lock:
            if kind not in self._states:
                self._states[kind] = kinds.run(kind).State()
            return self._states[kind]


class Invocation:
    """The settings of one invocation, which reads the secret again at most once.

    Args:
        asks_relays: if False, missing or wrong settings of relays are no error.

    Attributes:
        settings: the settings in use.

    Raises:
        SecretError, SettingsError: there are no valid settings, neither now nor from an earlier
            invocation.
    """

    def __init__(self, runtime: Runtime, *, asks_relays: bool = True) -> None:
        self._runtime = runtime
        self._asks_relays = asks_relays
        self._lock = threading.Lock()
        self._renewed = False
        self._wrong: SettingsError | None = None
        self.settings = self._first()
        for warning in self.settings.warnings:
            logger.warning(warning)
        if self.settings.unfilled:
            logger.warning(
                "the secret is not filled in yet: nothing is fetched, pushed or spooled",
                extra={"reason": "; ".join(self.settings.unfilled)},
            )

    @property
    def problem(self) -> SecretError | SettingsError | None:
        """Why the settings are not those of the current secret; None if they are."""
        secret = self._runtime.secret
        return self._wrong or (None if secret is None else secret.problem)

    def renew(self) -> Settings:
        """Read the secret again and return its settings; the previous ones if it is wrong."""
        with self._lock:
            if not self._renewed:
                self._renewed = True
                try:
                    self.settings = self._read(anew=True)
                except SettingsError as error:
                    _warn_of(error)
            return self.settings

    def _first(self) -> Settings:
        try:
            read = self._read(anew=False)
        except SettingsError:
            read = None
        if read is not None and not read.faulty:
            return read
        # The cached secret may be older than the operator's correction.
        self._renewed = True
        try:
            return self._read(anew=True)
        except SettingsError as error:
            if self._kept is None:
                raise
            _warn_of(error)
            self._wrong = error
            return self._kept

    @property
    def _kept(self) -> Settings | None:
        """The latest settings that were valid; None if there were none."""
        return self._runtime.settings.get(self._asks_relays)

    def _read(self, *, anew: bool) -> Settings:
        """Parse the settings of the secret.

        Raises:
            SettingsError: they are wrong, or placeholders have replaced valid values.
        """
        secret = self._runtime.secret
        text = None if secret is None else secret.text(anew=anew)
        read = settings.settings(self._runtime.environment, text, asks_relays=self._asks_relays)
        hide(read.secrets)
        if not read.unfilled:
            self._runtime.settings[self._asks_relays] = read
        elif self._kept is not None:
            raise SettingsError(read.unfilled[0])
        return read


def _warn_of(error: SettingsError) -> None:
    logger.warning(
        "the secret has changed for the worse: the last good settings are used",
        extra={"reason": str(error)},
    )
