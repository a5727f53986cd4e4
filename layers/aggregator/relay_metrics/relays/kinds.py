"""The kinds of relay. This is the only place that lists them.

Each kind is a package beside this file. Its `KIND` defines the keys of the secret that are its own
and how they are read. Its module `run` has `fetch`, and `State` for what the runtime keeps. Its
optional module `past` has `past`, for a back-fill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from relay_metrics.relays import Fetched
    from relay_metrics.relays.client import RelayClient
    from relay_metrics.relays.past import Past, Wanted
    from relay_metrics.settings.secret import Keys

KINDS: Mapping[str, str] = {
    "claude-relay": "relay_metrics.relays.claude",
    "wyolet-relay": "relay_metrics.relays.wyolet",
}
"""The package of each kind, by its name in settings, reports and `relay.kind`."""

DEFAULT = "claude-relay"


class Access(Protocol):
    """The credentials and options for requests to a relay of one kind."""

    @property
    def credentials(self) -> bool:
        """Whether a credential is sent to the relay."""

    @property
    def timed(self) -> bool:
        """Whether the relay gives figures with timestamps of their own."""

    @property
    def secrets(self) -> Iterable[str]:
        """Every value that must not appear in any output."""


class NoAccess:
    """The access of a relay whose settings are wrong, and which is not scraped."""

    credentials = timed = False
    secrets: Iterable[str] = ()


class OwnKeys(NamedTuple):
    """The keys of the secret that are a kind's own, in one of the two places for relays.

    Attributes:
        read: reads the access of a relay.
        takes: the kind's credentials, as error messages name them.
        credentials: the keys that hold a credential.
        options: the other keys.
    """

    read: Callable[[Keys], Access]
    takes: str
    credentials: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class RelayKind(NamedTuple):
    """The properties of a kind of relay.

    Attributes:
        one: its top-level keys of the secret, for the environment's one relay.
        listed: its keys in an entry of `relays`.
        sharded: whether its keys can be divided among shards; if not, only the first shard scrapes
            it.
        address: the settings of its address, as hints name them.
        hints: hints of its own for failures, by type.
    """

    one: OwnKeys
    listed: OwnKeys
    sharded: bool
    address: str = "RELAY_BASE_URL, or base_url in the secret"
    hints: Mapping[str, str] = MappingProxyType({})


class PastModule(Protocol):
    """The module `past` of a kind."""

    def past(self, client: RelayClient, state: Any, wanted: Wanted) -> Past | None:
        """The days that are over, as far as the relay has figures of them.

        Args:
            state: as for `Run.fetch`.

        Returns:
            None if a request failed; the failure is counted.

        Raises:
            Declined: the relay has no past, or it takes more requests than are allowed.
            RelayError: the relay refused the credential.
        """


class Run(Protocol):
    """The module `run` of a kind."""

    State: Callable[[], Any]

    def fetch(self, client: RelayClient, state: Any) -> Fetched:
        """Scrape the relay.

        Args:
            state: an object of `State`, the same for all runs of an execution environment.
        """


def kind(name: str) -> RelayKind:
    """A kind by its name."""
    found: RelayKind = import_module(KINDS[name]).KIND
    return found


def run(name: str) -> Run:
    """The module `run` of a kind, imported when the first relay of the kind needs it."""
    found: Run = import_module(f"{KINDS[name]}.run")
    return found


def past(name: str) -> PastModule | None:
    """The module `past` of a kind; None if it has none."""
    module = f"{KINDS[name]}.past"
    if find_spec(module) is None:
        return None
    found: PastModule = import_module(module)
    return found
