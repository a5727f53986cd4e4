"""The search for secrets in what anybody could see."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote, quote_plus


class Secrets:
    """Texts that must not be seen, in whichever form.

    Args:
        texts: the first of them.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: set[str] = set()
        for text in texts:
            self.add(text)

    def new(self, text: str) -> str:
        """A text that is a secret from now on."""
        self.add(text)
        return text

    def add(self, text: str) -> None:
        """Have a text looked for."""
        assert len(text) > 7, "a short text is found anywhere"
        self._texts.add(text)

    @staticmethod
    def basic(username: str, password: str) -> str:
        """What follows `Basic` in a header."""
        return b64encode(f"{username}:{password}".encode()).decode()

    @property
    def forms(self) -> dict[str, str]:
        """Each form that is looked for, and what it is of."""
        return {
            form: secret
            for secret in self._texts
            for form in (
                secret,
                secret[: len(secret) * 2 // 3],
                json.dumps(secret)[1:-1],
                json.dumps(secret, ensure_ascii=False)[1:-1],
                quote(secret, safe=""),
                quote(secret),
                quote_plus(secret),
                html.escape(secret),
                repr(secret)[1:-1],
                repr(secret.encode())[2:-1],
                secret.encode().hex(),
                b64encode(secret.encode()).decode().rstrip("="),
                secret.encode().decode("latin-1"),
            )
        }

    def assert_not_in(self, text: str) -> None:
        """Fail where one can be seen; the failure shows only where."""
        for form, secret in self.forms.items():
            at = text.find(form)
            assert at < 0, f"{secret[:3]}… behind {text[max(0, at - 80) : at]!r}"
