"""URLs of relays and destinations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl, urlsplit

from relay_metrics.errors import SettingsError

_TOKEN = 8


def parsed(where: str, text: str) -> SplitResult:
    """An http or https URL.

    Args:
        where: how a message names it.

    Raises:
        SettingsError: it is none, or has what does not belong there: a password, a fragment.
    """
    problem = None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SettingsError(f"{where} must be a URL, https://HOST") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        problem = "must be a URL, https://HOST"
    elif "@" in parts.netloc:
        problem = "must not have a user name or password in it: they belong into the secret"
    elif parts.fragment or re.search(r"[\s\\\x00-\x1f\x7f]", text):
        problem = "must be a URL without fragment, space or backslash"
    if problem:
        raise SettingsError(f"{where} {problem}")
    return parts


def base_address(where: str, text: str) -> str:
    """A URL that paths are put behind: without a query, and without a slash at its end.

    Raises:
        SettingsError: as `parsed`, and where it has a query.
    """
    parts = parsed(where, text)
    if parts.query:
        raise SettingsError(f"{where} must not have a query")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def host_port(address: str) -> str:
    """Host and port of a URL, the port also where it is the scheme's own.

    Example:
        >>> host_port("https://relay.example/sub"), host_port("http://[::1]:3000")
        ('relay.example:443', '[::1]:3000')
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def otlp_endpoint(where: str, text: str, warnings: list[str]) -> str:
    """The OTLP metrics endpoint that an address means.

    GreptimeDB's is `/v1/otlp/v1/metrics`; its root and its `/v1/otlp` mean that. `/v1/metrics` is
    another collector's, or a mistake: on a host of GreptimeCloud it can only be the latter.

    Args:
        warnings: is told of what was corrected.

    Raises:
        SettingsError: as `parsed`.
    """
    parts = parsed(where, text)
    path = parts.path.rstrip("/")
    host = (parts.hostname or "").rstrip(".")
    cloud = host == "greptime.cloud" or host.endswith(".greptime.cloud")
    if cloud and path == "/v1/metrics":
        warnings.append(
            f"{where} ends in /v1/metrics, which is not GreptimeDB's OTLP endpoint: "
            "/v1/otlp/v1/metrics is used"
        )
        path = ""
    known = path in ("", "/v1/otlp")
    return parts._replace(path="/v1/otlp/v1/metrics" if known else parts.path).geturl()


def token_values(url: str) -> Iterator[str]:
    """Values of an address's query that are long enough to be a token."""
    return (value for _, value in parse_qsl(urlsplit(url).query) if len(value) >= _TOKEN)
