"""A simulated Wyolet Relay's usage API: what it counted of each request, its keys, its upstreams.

The relay is used every minute of the clock, from `past_minutes` before it was made on; the events
of a minute depend on the seed and the minute alone. A request's event is written when it ends, and
has the instant of its start.

The switches are attributes: `backend_down`, `pods`, `delay_s`, `before_0_3`, `reader`. The methods
`late`, `rotate` and `cool_down` are what happens to a relay.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from local.http_server import Request, Response

PREFIX = "/api/"
MAX_BUCKETS = 5000
PRICES = {
    # nanos of a USD a token: input, output, written to the cache, read from it
    "claude-sonnet-4-5": (3000, 15000, 3750, 300),
    "claude-haiku-4-5": (1000, 5000, 1250, 100),
    "gpt-5": (1250, 10000, 0, 125),
}
GROUPS = ("model", "model_id", "relay_key_hash")
"""The dimensions that can be grouped by, of those that are asked for; the first came with 0.3."""


@dataclass
class RelayKey:
    """A caller's key, as in `/api/relay-keys`. It keeps its id when it is rotated."""

    id: str
    name: str
    owner: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    revoked_at: str | None = None
    rotations: int = 0

    @property
    def hash(self) -> str:
        """Of the key as it is now."""
        return sha256(f"{self.id}:{self.rotations}".encode()).hexdigest()

    def row(self) -> dict[str, Any]:
        """Its item in the list."""
        owner = {"kind": "user", "id": self.owner} if self.owner else None
        return {
            "metadata": {
                "id": self.id,
                "name": self.name,
                "displayName": self.name.title(),
                **({"owner": owner} if owner else {}),
                "labels": self.labels,
                "createdAt": "2026-05-01T08:00:00Z",
                "updatedAt": "2026-06-01T08:00:00Z",
            },
            "spec": {
                "policyId": "pol-default",
                "keyHash": self.hash,
                "prefix": "sk-wr-ab",
                **({"revokedAt": self.revoked_at} if self.revoked_at else {}),
                "enabled": self.enabled,
            },
        }


@dataclass
class HostKey:
    """An upstream key and its health. `open_until` is epoch seconds."""

    id: str
    name: str
    state: str = "closed"
    reason: str = ""
    open_until: float | None = None


@dataclass(frozen=True)
class Usage:
    """A request that the relay handled, as its backend keeps it.

    Attributes:
        ts: its start, epoch seconds.
        written: when its event was written.
        cost_nanos: None where it has no price.
    """

    ts: float
    written: float
    model: str = "claude-sonnet-4-5"
    relay_key_hash: str = ""
    status: int = 200
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost_nanos: int | None = None
    duration_ms: int = 1000
    ttft_ms: int | None = None
    error_kind: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is counted among the errors."""
        return self.status >= 400 or bool(self.error_kind)

    def get(self, name: str) -> str:
        """A dimension by its name in the API; empty where the request has none."""
        if name == "model_id":
            return self.model and f"mod-{self.model}"
        return str(getattr(self, name))


class WyoletUsage:
    """What the relay's backend holds, and the answers that it gives.

    Args:
        clock: epoch seconds.
        token: the administrator's; None where a proxy in front adds it.
        per_minute: requests that come in a minute, on average.

    Attributes:
        keys, host_keys: the callers' keys, the upstream ones.
        backend_down: summary and timeseries answer 400.
        pods: how many pods a load balancer sends requests to in turn; each has a file of its own,
            with one in `pods` events.
        delay_s: how long a query takes.
        before_0_3: a release that knows neither costs nor names.
        reader: whether there is a usage reader; without, its routes answer with the UI's page.
        asked: each path and query that came, in their order.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        token: str | None = None,
        seed: int = 1,
        past_minutes: int = 120,
        per_minute: float = 3.0,
    ) -> None:
        self.clock = clock
        self.token = token
        self.seed = seed
        self.per_minute = per_minute
        self.keys = [
            RelayKey("rk-1", "checkout", "ada", {"team": "payments", "env": "prod"}),
            RelayKey("rk-2", "search", "grace", {"team": "discovery"}),
            RelayKey("rk-3", "sandbox"),
        ]
        self.host_keys = [
            HostKey("hk-anthropic", "anthropic-main"),
            HostKey("hk-openai", "openai-main"),
        ]
        self.backend_down = False
        self.pods = 1
        self.delay_s = 0.0
        self.before_0_3 = False
        self.reader = True
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self._events: list[Usage] = []
        self._next_minute = int(clock() // 60) - past_minutes
        self._turn = 0
        self._lock = threading.Lock()

    # -- what happens

    def late(self, ts: float, **more: Any) -> Usage:
        """A request that began at `ts` and ends only now."""
        given = {"tokens": {"input": 1000, "output": 100}, "cost_nanos": 4_500_000, **more}
        event = Usage(ts=ts, written=self.clock(), **given)
        self._live()
        self._events.append(event)
        return event

    def rotate(self, key: RelayKey) -> str:
        """Give a key a new secret; the hash that belongs to nobody from now on."""
        self._live()
        former = key.hash
        key.rotations += 1
        return former

    def cool_down(self, key: HostKey, seconds: float, reason: str = "rate_limit") -> None:
        """Put an upstream key out of use for so long."""
        key.state, key.reason, key.open_until = "open", reason, self.clock() + seconds

    def events(self) -> list[Usage]:
        """All that is written by now, whichever pod has it, in the order of their start."""
        self._live()
        now = self.clock()
        return sorted((one for one in self._events if one.written <= now), key=lambda one: one.ts)

    def _live(self) -> None:
        """The minutes that have begun since, with the keys as they are."""
        while self._next_minute * 60 <= self.clock():
            self._events += self._minute(self._next_minute)
            self._next_minute += 1

    def _minute(self, minute: int) -> Iterator[Usage]:
        rng = random.Random(f"{self.seed}:{minute}")  # noqa: S311 - wanted repeatable
        for _ in range(round(self.per_minute * rng.uniform(0, 2))):
            ts = minute * 60 + round(rng.uniform(0, 59.9), 3)
            seconds = round(rng.lognormvariate(0.2, 1.0), 3)
            model = rng.choices(tuple(PRICES), (5, 3, 2))[0]
            key = rng.choices(self.keys, range(len(self.keys), 0, -1))[0] if self.keys else None
            event = Usage(
                ts,
                ts + seconds,
                model,
                key.hash if key and rng.random() > 0.05 else "",
                duration_ms=round(seconds * 1000),
            )
            if rng.random() < 0.06:
                yield replace(event, status=rng.choice((429, 500)), error_kind="upstream")
                continue
            read, written = rng.choice((0, 12_000, 20_000)), rng.choice((0, 0, 512))
            tokens = {
                "input": rng.randint(200, 3000),
                "output": rng.randint(20, 900),
                **({"cache_read": read} if read else {}),
                **({"cache_creation": written} if written else {}),
                **({"reasoning": rng.randint(10, 200)} if model == "gpt-5" else {}),
            }
            yield replace(event, tokens=tokens, cost_nanos=cost(model, tokens), ttft_ms=412)

    # -- what is answered

    def answer(self, request: Request) -> Response:
        """The answer to any request under `/api/`."""
        path = request.path.removeprefix(PREFIX)
        if path.startswith("usage/"):
            time.sleep(self.delay_s)
        with self._lock:
            return self._answer(path, request)

    def _answer(self, path: str, request: Request) -> Response:
        self.asked.append((path, request.query))
        if self.token is not None and request.headers.get("authorization") != (
            f"Bearer {self.token}"
        ):
            error = {"type": "authentication_error", "message": "unauthenticated"}
            refusal = Response.of_json({"error": error}, 401)
            return replace(refusal, content_type="text/plain; charset=utf-8")
        if request.method != "GET":
            return _problem(405, "method not allowed")
        if path.startswith("usage/"):
            return self._usage(path.removeprefix("usage/"), request.query)
        if path == "relay-keys":
            return self._listed([one.row() for one in self.keys], request.query)
        if path == "host-keys":
            rows = [
                {"metadata": {"id": one.id, "name": one.name}, "spec": {"enabled": True}}
                for one in self.host_keys
            ]
            return self._listed(rows, request.query)
        if match := re.fullmatch("host-keys/by-id/([^/]+)/health", path):
            return self._health(unquote(match[1]))
        return _problem(404, "not found")

    def _listed(self, rows: list[Any], query: Mapping[str, str]) -> Response:
        if query.keys() - {"limit", "offset"}:
            return _problem(400, "unknown parameter")
        limit = int(query.get("limit", len(rows)))
        return Response.of_json({"items": rows[:limit], "total": len(rows)})

    def _health(self, key_id: str) -> Response:
        for key in self.host_keys:
            if key.id == key_id:
                left = max(0.0, (key.open_until or 0.0) - self.clock())
                if key.state == "open" and not left:
                    key.state, key.open_until = "half_open", None
                health = {
                    "state": key.state,
                    "reason": key.reason,
                    "open_until": _iso(key.open_until) if key.open_until else None,
                    "cooldown_remaining_seconds": round(left),
                }
                return Response.of_json(health)
        return _problem(404, "not found")

    def _usage(self, name: str, query: Mapping[str, str]) -> Response:
        if not self.reader:
            page = b"<!doctype html><html><head><title>Relay</title></head></html>"
            return Response(200, page, "text/html; charset=utf-8")
        if self.backend_down:
            return _problem(400, "usage: query failed")
        try:
            window = self._window(query)
            events = [one for one in self._of_pod() if window[0] <= one.ts <= window[1]]
            if name == "timeseries":
                return self._timeseries(events, query, window)
            if name == "summary":
                return self._summary(events, query)
        except ValueError as error:
            return _problem(400, str(error))
        return _problem(404, "not found")

    def _of_pod(self) -> list[Usage]:
        self._turn += 1
        self._live()
        own = {id(one) for one in self._events[self._turn % self.pods :: self.pods]}
        return [one for one in self.events() if id(one) in own]

    def _window(self, query: Mapping[str, str]) -> tuple[float, float]:
        now = self.clock()
        end = _instant(query["to"]) if query.get("to") else now
        start = now - _seconds(query.get("since") or "1h", "since")
        if query.get("from"):
            start = _instant(query["from"])
        if end < start:
            raise ValueError("to is before from")
        return start, end

    def _group(self, query: Mapping[str, str]) -> str:
        group = query.get("group_by", "")
        if group and group not in GROUPS[self.before_0_3 :]:
            raise ValueError("group_by is none of the dimensions")
        return group

    def _timeseries(
        self, events: Iterable[Usage], query: Mapping[str, str], window: tuple[float, float]
    ) -> Response:
        group, step = self._group(query), _seconds(query.get("interval", ""), "interval")
        if (window[1] - window[0]) / step > MAX_BUCKETS:
            raise ValueError("too many buckets")
        rows: dict[str, dict[float, list[Usage]]] = defaultdict(lambda: defaultdict(list))
        for one in events:
            if one.status:
                rows[one.get(group) if group else ""][one.ts // step * step].append(one)
        series = [
            {
                **({"group": {group: value}} if group else {}),
                "points": [
                    {"bucket": _iso(at), **self._sums(buckets[at], codes=True)}
                    for at in sorted(buckets)
                ],
            }
            for value, buckets in rows.items()
        ]
        start, end = map(_iso, window)
        return Response.of_json(
            {
                "$schema": "http://relay/schemas/TimeSeriesResult.json",
                "rows": series,
                "interval": _go_duration(step),
                "from": start,
                "to": end,
            }
        )

    def _summary(self, events: Iterable[Usage], query: Mapping[str, str]) -> Response:
        group = self._group(query)
        rows: dict[str, list[Usage]] = defaultdict(list)
        for one in events:
            if one.status:
                rows[one.get(group) if group else ""].append(one)
        sums = [
            {
                **({"group": {group: value}} if group else {}),
                **self._sums(counted),
                "first_seen": _iso(counted[0].ts),
                "last_seen": _iso(counted[-1].ts),
            }
            for value, counted in sorted(rows.items(), key=lambda row: -len(row[1]))
        ]
        nothing = "0001-01-01T00:00:00Z"
        starts = [one.ts for counted in rows.values() for one in counted]
        first = _iso(min(starts)) if starts else nothing
        last = _iso(max(starts)) if starts else nothing
        return Response.of_json({"rows": sums, "from": first, "to": last})

    def _sums(self, events: list[Usage], *, codes: bool = False) -> dict[str, Any]:
        tokens: dict[str, int] = defaultdict(int)
        for one in events:
            for kind, count in one.tokens.items():
                tokens[kind] += count
        statuses = [one.status for one in events]
        first_tokens = [one.ttft_ms for one in events if one.ttft_ms is not None]
        sums: dict[str, Any] = {
            "requests": len(events),
            "error_count": sum(one.failed for one in events),
        }
        if codes:
            sums["errors_4xx"] = sum(400 <= status < 500 for status in statuses)
            sums["errors_5xx"] = sum(status >= 500 for status in statuses)
        sums |= {
            "tokens": dict(sorted(tokens.items())),
            "duration_ms": _spread([one.duration_ms for one in events]),
        }
        if self.before_0_3:
            return sums
        if first_tokens:
            sums["ttft_ms"] = _spread(first_tokens)
        return {
            **sums,
            "cost_nanos": sum(one.cost_nanos or 0 for one in events),
            "unpriced": sum(one.cost_nanos is None for one in events),
        }


def cost(model: str, tokens: Mapping[str, int]) -> int:
    """What a request costs, in nanos of a USD."""
    kinds = ("input", "output", "cache_creation", "cache_read")
    return sum(
        tokens.get(kind, 0) * price for kind, price in zip(kinds, PRICES[model], strict=True)
    )


def _problem(status: int, detail: str) -> Response:
    return Response.of_json({"title": "Error", "status": status, "detail": detail}, status)


def _iso(at: float) -> str:
    text = datetime.fromtimestamp(at, UTC).isoformat()
    return text.replace("+00:00", "Z")


def _instant(text: str) -> float:
    if "T" not in text:
        raise ValueError("not an RFC 3339 instant")
    return datetime.fromisoformat(text).timestamp()


def _seconds(text: str, name: str) -> float:
    match = re.fullmatch(r"([0-9]+)([smhd])", text)
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0
    if not seconds:
        raise ValueError(f"bad {name}")
    return seconds


def _go_duration(seconds: float) -> str:
    """A duration as Go writes it.

    >>> _go_duration(60), _go_duration(86400), _go_duration(15)
    ('1m0s', '24h0m0s', '15s')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _spread(values: list[int]) -> dict[str, int]:
    ordered = sorted(values)

    def at(share: float) -> int:
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    average = round(sum(ordered) / len(ordered))
    return {"avg": average, "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": ordered[-1]}
