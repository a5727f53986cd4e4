"""How a Claude Relay Service writes numbers, instants, costs, tokens and errors."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from local.http_server import Response
from local.relay.model import MICRO, Key, Usage


def number(value: float) -> float:
    """A number as JavaScript writes it: a whole one has no decimal point."""
    return int(value) if float(value).is_integer() else value


def usd(micro: int) -> float:
    """Micro-dollars as USD."""
    return number(micro / MICRO)


def formatted(cost: float) -> str:
    """A cost as text: the smaller it is, the more digits it has."""
    digits = 2 if cost >= 1 else 4 if cost >= 0.001 else 6
    return f"${cost:.{digits}f}"


def iso(epoch_s: float | None) -> str:
    """An instant in ISO 8601 with milliseconds and Z; `""` where there is none."""
    if epoch_s is None:
        return ""
    instant = datetime.fromtimestamp(round(epoch_s, 3), UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tokens(usage: Usage, without: Collection[str] = ()) -> dict[str, Any]:
    """Tokens and requests, in the order in which the relay has them."""
    shape = {
        "tokens": usage.all_tokens,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "cacheCreateTokens": usage.cache_create_tokens,
        "cacheReadTokens": usage.cache_read_tokens,
        "allTokens": usage.all_tokens,
        "requests": usage.requests,
    }
    return {name: count for name, count in shape.items() if name not in without}


def error(status: int, name: str, message: str) -> Response:
    """An error's body: match on `error`, since `message` may be Chinese."""
    return Response.of_json({"error": name, "message": message}, status)


def key_error(name: str, key: Key, what: str) -> Response:
    """What a key that may not be read by its id answers: 403, with the key's name."""
    body = {"error": name, "message": f'API Key "{key.name}" {what}', "keyName": key.name}
    return Response.of_json(body, 403)
