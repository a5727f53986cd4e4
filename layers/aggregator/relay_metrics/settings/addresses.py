"""Checks and completes the URLs of relays and destinations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl, urlsplit

from relay_metrics.errors import SettingsError

_TOKEN = 8


def parsed(where: str, text: str) -> SplitResult:
    """Parse an http or https URL.

    Args:
        where: the name of the setting in error messages.

    Raises:
        SettingsError: it is no such URL, or has a password, a fragment, or port 0.
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
    """A URL that paths are appended to: it has no query and no trailing slash.

    Raises:
        SettingsError: as `parsed`, or it has a query.
    """
    parts = parsed(where, text)
    if parts.query:
        raise SettingsError(f"{where} must not have a query")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def host_port(address: str) -> str:
    """Host and port of a URL; without a port, that of the scheme.

    Example:
        >>> host_port("https://relay.example/sub"), host_port("http://[::1]:3000")
        ('relay.example:443', '[::1]:3000')
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def otlp_endpoint(where: str, text: str, warnings: list[str]) -> str:
    """Complete an address to the URL of an OTLP metrics endpoint.

    GreptimeDB's root and its `/v1/otlp` become `/v1/otlp/v1/metrics`. `/v1/metrics` is the path of
    other collectors and is kept, but on a host of GreptimeCloud it is a mistake and corrected.

    Args:
        warnings: a sentence is appended for a correction.

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
    """The values in a URL's query that are long enough to be a token."""
    return (value for _, value in parse_qsl(urlsplit(url).query) if len(value) >= _TOKEN)
