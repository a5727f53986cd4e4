"""A snapshot: the answers of one relay in one run, as plain data that can be written and read.

It holds everything that its series are made of, and no credential. Read later, in another
environment or by another release, it gives the same series.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from relay_metrics.errors import SnapshotError

if TYPE_CHECKING:
    from relay_metrics.families import Family, Series

SCHEMA = 2
"""Written into every snapshot. A reader reads this schema and older ones.

Schema 1 has an object for each series, schema 2 has columns."""

_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)

INT64 = range(-(2**63), 2**63)
NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class Scope(StrEnum):
    """What kind of thing a reading is about. It chooses the rows of the catalogue."""

    RUN = "run"
    FAILURE = "failure"
    RELAY = "relay"
    KEY = "key"
    MODEL = "model"
    ACCOUNT = "account"
    KEY_STATE = "key_state"
    ACCOUNT_STATE = "account_state"
    ACCOUNT_FAMILY = "account_family"
    ALL_KEYS_MODEL = "all_keys_model"
    BUILD = "build"
    DAY_KEY = "day_key"
    DAY_MODEL = "day_model"
    DAY_ACCOUNT = "day_account"
    DAY_RELAY = "day_relay"
    KEY_INFO = "key_info"
    USAGE = "usage"
    USAGE_MODEL = "usage_model"
    USAGE_KEY = "usage_key"
    HOST_KEY = "host_key"


Number = int | float

MetricKey = tuple[str, str]
"""Identifies a metric within a snapshot: the scope of a reading and the path of its field; or an
empty text and the name of a family."""


class Reading(NamedTuple):
    """A relay's figures for one thing: the relay, a key, a key's use of a model, an account.

    Attributes:
        scope: what kind of thing it is.
        fields: the figures by the path of their field in the answer; each becomes a data point. A
            field that the relay did not send, or that is no number, is left out.
        attributes: the attributes of the data points.
        resource: resource attributes that are added to, or replace, those of the snapshot.
        start_ms: the start of its running totals, epoch milliseconds; None if unknown.
        time_ms: the timestamp of the figures, epoch milliseconds; None for the time of the run.
    """

    scope: Scope
    fields: Mapping[str, Number]
    attributes: Mapping[str, str] = NO_ATTRIBUTES
    resource: Mapping[str, str] = NO_ATTRIBUTES
    start_ms: int | None = None
    time_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """How often an endpoint failed with one type of error, or how many values were left out."""

    endpoint: str
    type: str
    count: int = 1


class Scrape(NamedTuple):
    """The record of one scrape of one relay.

    Attributes:
        up: whether the relay answered and accepted the credential.
        duration_s: wall-clock time of all its requests together; None in a copy that only
            repeats `up` (see `to_carry`).
        samples: the data points of its answers, without those of this record; None in such a copy.
        last_success_ms: the time of the run if the relay was up, epoch milliseconds; None if it
            was down. Earlier runs are not used: another environment may know later ones.
        failures: failed requests and left-out values, by endpoint and type.
        keys_failed: how many keys were asked for their user-stats without success.
        keys_left_out: how many keys are beyond `RELAY_MAX_KEYS`.
        models_left_out: how many model rows are beyond `RELAY_MAX_MODELS_PER_KEY`.
        shard: the part of the keys that was scraped, like `2/4`; empty for all keys.
        resource: its resource attributes in addition to the snapshot's.
    """

    up: bool
    duration_s: float | None
    samples: int | None = 0
    last_success_ms: int | None = None
    failures: tuple[Failure, ...] = ()
    keys_failed: int = 0
    keys_left_out: int = 0
    models_left_out: int = 0
    shard: str = ""
    resource: Mapping[str, str] = NO_ATTRIBUTES

    @property
    def carried(self) -> bool:
        """Whether this is only a copy that repeats `up` in a later part of a snapshot."""
        return self.duration_s is None

    def to_carry(self, resource: Mapping[str, str] = NO_ATTRIBUTES) -> Scrape:
        """The copy for the later parts of a snapshot: it gives only `relay_up`.

        If all tables that a request names were made by something else than OTLP, GreptimeDB
        writes it in an older way and damages them. `relay_up` is a table that OTLP made.

        Args:
            resource: of its own snapshot, if the copy is for the parts of another one.
        """
        return Scrape(self.up, None, None, shard=self.shard, resource=resource or self.resource)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The answers of one relay in one run.

    Attributes:
        kind: of the relay.
        relay: its name.
        time_ms: the time of the run, epoch milliseconds.
        resource: the resource attributes of all series.
        scrape: the record of the scrape; only a copy of `up` in the later parts of a snapshot that
            was split; None for figures with timestamps of their own.
        readings: the figures of a relay that answers in JSON.
        families: the families of a Prometheus endpoint.
    """

    kind: str
    relay: str
    time_ms: int
    resource: Mapping[str, str]
    scrape: Scrape | None = None
    readings: Sequence[Reading] = ()
    families: Sequence[Family] = ()

    def __len__(self) -> int:
        """The number of things in it: readings and series."""
        return len(self.readings) + sum(len(family.series) for family in self.families)

    @property
    def samples(self) -> int:
        """The number of data points, without those of the scrape record."""
        of_readings = sum(len(one.fields) for one in self.readings)
        return of_readings + sum(family.series.points for family in self.families)

    @property
    def label_bytes(self) -> int:
        """The length of all label sets of the families: most of what `dump` writes of them."""
        return sum(len(chunk) for family in self.families for chunk in family.series.text)

    def split(self) -> tuple[Snapshot, Snapshot]:
        """Two snapshots that together give the same series as this one.

        Raises:
            SnapshotError: it holds fewer than two things.
        """
        if len(self) < 2:
            raise SnapshotError("a snapshot of one thing cannot be split")
        middle = len(self) // 2
        return self.part(0, middle), self.part(middle, len(self))

    def part(self, start: int, stop: int) -> Snapshot:
        """The things from `start` to before `stop`: readings first, then series."""
        offset = len(self.readings)
        families = []
        for family in self.families:
            chosen = family.series[max(start - offset, 0) : max(stop - offset, 0)]
            if chosen:
                families.append(family._replace(series=chosen))
            offset += len(family.series)
        scrape = self.scrape.to_carry() if start > 0 and self.scrape is not None else self.scrape
        return replace(self, readings=self.readings[start:stop], families=families, scrape=scrape)

    @property
    def metrics(self) -> tuple[MetricKey, ...]:
        """The metrics of its figures, each once, in their order; without the scrape record's."""
        of_readings = ((one.scope, path) for one in self.readings for path in one.fields)
        of_families = (("", family.name) for family in self.families)
        return tuple(dict.fromkeys(chain(of_readings, of_families)))

    def only(self, metrics: Collection[MetricKey]) -> Snapshot:
        """The part with these metrics. Its scrape record is the copy that repeats `up`."""
        readings = [
            one._replace(fields=fields)
            for one in self.readings
            if (fields := {p: v for p, v in one.fields.items() if (one.scope, p) in metrics})
        ]
        families = [family for family in self.families if ("", family.name) in metrics]
        scrape = None if self.scrape is None else self.scrape.to_carry()
        return replace(self, readings=readings, families=families, scrape=scrape)

    def joined(self, others: Sequence[Snapshot]) -> Snapshot:
        """This part of a snapshot joined with other parts of the same one."""
        parts = (self, *others)
        whole = [one.scrape for one in parts if one.scrape is not None and not one.scrape.carried]
        return replace(
            self,
            readings=[reading for one in parts for reading in one.readings],
            families=[family for one in parts for family in one.families],
            scrape=whole[0] if whole else self.scrape,
        )

    def dump(self) -> bytes:
        """The snapshot as JSON that `load` can read."""
        written: dict[str, Any] = {
            "schema": SCHEMA,
            "kind": self.kind,
            "relay": self.relay,
            "time_ms": self.time_ms,
            "resource": dict(self.resource),
        }
        if self.scrape is not None:
            failures = [asdict(failure) for failure in self.scrape.failures]
            more = {"failures": failures, "resource": dict(self.scrape.resource)}
            written["scrape"] = {**self.scrape._asdict(), **more}
        if self.readings:
            written["readings"] = [
                [
                    r.scope,
                    {path: in_64_bits(value) for path, value in r.fields.items()},
                    dict(r.attributes),
                    dict(r.resource),
                    r.start_ms,
                    r.time_ms,
                ]
                for r in self.readings
            ]
        if self.families:
            written["families"] = [
                {
                    "name": family.name,
                    "type": family.type,
                    "help": family.help,
                    **family.series.dump(),
                }
                for family in self.families
            ]
        return json.dumps(written, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def load(cls, data: bytes) -> Snapshot:
        """Read a snapshot that `dump` wrote.

        Raises:
            SnapshotError: it is damaged, or has a newer schema.
        """
        try:
            written = json.loads(data)
            schema = written["schema"]
            if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
                raise SnapshotError(f"the snapshot has a schema other than 1 to {SCHEMA}")
            scrape = written.get("scrape")
            return cls(
                kind=_text(written["kind"]),
                relay=_text(written["relay"]),
                time_ms=_instant(written["time_ms"]),
                resource=_texts(written["resource"]),
                scrape=None if scrape is None else _scrape(scrape),
                readings=tuple(_reading(*one) for one in written.get("readings", ())),
                families=tuple(_family(schema, one) for one in written.get("families", ())),
            )
        except _DAMAGED as error:
            raise SnapshotError(f"the snapshot is damaged ({type(error).__name__})") from None


def in_64_bits(value: Number) -> Number:
    """A figure as data points and snapshots hold it: an integer beyond 64 bits becomes a float."""
    return value if isinstance(value, float) or value in INT64 else float(value)


def well_formed(text: str) -> str:
    """Text as well-formed Unicode: a lone surrogate becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return well_formed(value)  # the SDK's encoder leaves out an attribute that is no Unicode


def _texts(value: Any) -> dict[str, str]:
    return {_text(name): _text(text) for name, text in value.items()}


def _number(value: Any) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise TypeError
    if isinstance(value, int) and value not in INT64:
        raise ValueError
    return value


def _maybe(value: Any) -> Number | None:
    return None if value is None else _number(value)


def _instant(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in INT64:
        raise TypeError
    return value


def _maybe_instant(value: Any) -> int | None:
    return None if value is None else _instant(value)


def _pairs(value: Any) -> tuple[tuple[float, Number], ...]:
    return tuple((float(_number(at)), _number(number)) for at, number in value)


def _scrape(written: Any) -> Scrape:
    if not isinstance(written["up"], bool):
        raise TypeError
    return Scrape(
        up=written["up"],
        duration_s=_maybe(written["duration_s"]),
        samples=_maybe_instant(written["samples"]),
        last_success_ms=_maybe_instant(written["last_success_ms"]),
        failures=tuple(
            Failure(_text(one["endpoint"]), _text(one["type"]), _instant(one["count"]))
            for one in written["failures"]
        ),
        keys_failed=_instant(written["keys_failed"]),
        keys_left_out=_instant(written["keys_left_out"]),
        models_left_out=_instant(written["models_left_out"]),
        shard=_text(written.get("shard", "")),
        resource=_texts(written.get("resource", {})),
    )


def _reading(
    scope: Any, fields: Any, attributes: Any, resource: Any, start_ms: Any, time_ms: Any = None
) -> Reading:
    return Reading(
        scope=Scope(scope),
        fields={_text(path): _number(value) for path, value in fields.items()},
        attributes=_texts(attributes),
        resource=_texts(resource),
        start_ms=_maybe_instant(start_ms),
        time_ms=_maybe_instant(time_ms),
    )


def _family(schema: int, written: Any) -> Family:
    # a run that asks claude-relays alone need not import it
    from relay_metrics.families import Columns, Family, FamilyType

    kind = FamilyType(written["type"])
    if schema == 1:
        series = Columns.of(kind, map(_series, written["series"]))
    else:
        series = Columns.load(kind, written)
    return Family(_text(written["name"]), kind, _text(written["help"]), series)


def _series(written: Any) -> Series:
    """A series as schema 1 writes it."""
    from relay_metrics.families import Series

    return Series(
        labels=_texts(written.get("labels", {})),
        value=_maybe(written.get("value")),
        buckets=_pairs(written.get("buckets", ())),
        quantiles=tuple((_text(at), _number(one)) for at, one in written.get("quantiles", ())),
        sum=_maybe(written.get("sum")),
        count=_maybe(written.get("count")),
        time_ms=_maybe_instant(written.get("time_ms")),
        start_ms=_maybe_instant(written.get("start_ms")),
    )
