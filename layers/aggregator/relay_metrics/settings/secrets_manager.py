"""Reads the secret from Secrets Manager and caches it."""

from __future__ import annotations

from typing import Any, Protocol

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import BotoCoreError

from relay_metrics.aws import CONFIG, error_code
from relay_metrics.errors import SecretError
from relay_metrics.observability import logger

_ASK = "does SECRET_ID name it, and may the function's role read it?"
_ASK_KEY = "may {} use the secret's KMS key?"
_ASK_SAM_LOCAL = (
    "does SECRET_ID name it in the region that sam local has (AWS_DEFAULT_REGION, --region or the "
    "profile; not AWS_REGION), can AWS be reached from here, and may your own credentials read it?"
)


class Provider(Protocol):
    """The part of Powertools' `SecretsProvider` that is used: it reads a secret and caches it."""

    def get(self, name: str, max_age: int, *, force_fetch: bool) -> Any:
        """The secret, from the cache if it is not older than `max_age` seconds."""


class Secret:
    """The text of one secret.

    Args:
        secret_id: its name or ARN.
        max_age_s: how many seconds a cached copy is used.
        provider: reads it; if None, it is created when first needed.
        sam_local: whether this is `sam local`, which reads it with the developer's credentials.

    Attributes:
        problem: why the latest `text` returned an older copy; None if it did not.
    """

    def __init__(
        self,
        secret_id: str,
        max_age_s: int,
        provider: Provider | None = None,
        *,
        sam_local: bool = False,
    ) -> None:
        self._secret_id = secret_id
        self._max_age_s = max_age_s
        self._provider = provider
        self._ask = _ASK_SAM_LOCAL if sam_local else _ASK
        self._ask_key = _ASK_KEY.format(
            "your own credentials (the profile)" if sam_local else "the function's role"
        )
        self._last: str | None = None
        self.problem: SecretError | None = None

    def text(self, *, anew: bool = False) -> str:
        """The secret's text; if it cannot be read, the text of the last successful read.

        Args:
            anew: whether to read it even if the cached copy is not too old.

        Raises:
            SecretError: it cannot be read and was never read before.
        """
        try:
            self._last = self._read(anew)
            self.problem = None
        except SecretError as error:
            if self._last is None:
                raise
            self.problem = error
            logger.warning(
                "the secret cannot be read: an older copy is used", extra={"reason": str(error)}
            )
        return self._last

    def _read(self, anew: bool) -> str:
        try:
            if self._provider is None:
                self._provider = SecretsProvider(boto_config=CONFIG)
            value = self._provider.get(self._secret_id, self._max_age_s, force_fetch=anew)
        except (GetParameterError, BotoCoreError) as error:
            # Powertools wraps the exception of boto3
            cause = (isinstance(error, GetParameterError) and error.__context__) or error
            key = _of_key(cause)
            ask = self._ask_key if key else self._ask
            raise SecretError(
                f"Secrets Manager did not give the secret ({error_code(cause)}): {ask}", key=key
            ) from None
        if not isinstance(value, str):
            raise SecretError("the secret is binary: it must be one JSON object, as text")
        return value


def _of_key(error: BaseException) -> bool:
    """Whether the secret exists but cannot be decrypted with its KMS key."""
    response = getattr(error, "response", None)
    detail = response.get("Error", {}) if isinstance(response, dict) else {}
    return detail.get("Code") == "DecryptionFailure" or "KMS" in str(detail.get("Message", ""))
