"""Snapshots of any shape that a fetch can give, as strategies."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from relay_metrics.catalogue import ATTRIBUTES, rows
from relay_metrics.families import Family, FamilyType, Series
from relay_metrics.relays.kinds import KINDS
from relay_metrics.snapshot import (
    Failure,
    Reading,
    Scope,
    Scrape,
    Snapshot,
)

TIME_MS = 1_800_000_000_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
finite = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
instants = st.none() | st.integers(1, TIME_MS)
labels = st.dictionaries(
    st.sampled_from(["source", "job", "status", "le", "relay.name", "_a"]), texts, max_size=3
)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """What a relay says of a key, a model, an account, itself."""
    scope = draw(st.sampled_from([one for one in ATTRIBUTES if one not in _OF_THE_RUN]))
    fields = [row.field for row in rows(scope)]
    return Reading(
        scope,
        draw(st.dictionaries(st.sampled_from(fields), finite, max_size=4)),
        {name: draw(texts) for name in ATTRIBUTES[scope]},
        draw(st.dictionaries(st.sampled_from(["relay.key.id", "service.name"]), texts)),
        draw(instants),
        draw(instants),
    )


_OF_THE_RUN = (Scope.RUN, Scope.FAILURE)


@st.composite
def series(draw: st.DrawFn, kind: FamilyType) -> Series:
    """One series of a family of that type."""
    value = None
    buckets: tuple[tuple[float, int], ...] = ()
    quantiles: tuple[tuple[str, float], ...] = ()
    total, count = draw(st.none() | finite), None
    if kind is FamilyType.HISTOGRAM:
        bounds = [*sorted(draw(st.sets(st.floats(-1e9, 1e9), max_size=4))), math.inf]
        cumulative = sorted(draw(st.lists(counts, min_size=len(bounds), max_size=len(bounds))))
        buckets, count = tuple(zip(bounds, cumulative, strict=True)), cumulative[-1]
    elif kind is FamilyType.SUMMARY:
        names = draw(st.sets(st.sampled_from(["0", "0.5", "0.99", "1"])))
        quantiles = tuple((name, draw(st.floats(allow_nan=False))) for name in sorted(names))
        count = draw(st.none() | counts)
    else:
        value, total = draw(st.floats(allow_nan=False) | finite), None
    return Series(
        draw(labels), value, buckets, quantiles, total, count, draw(instants), draw(instants)
    )


@st.composite
def families(draw: st.DrawFn) -> Family:
    """A family of an exposition."""
    kind = draw(st.sampled_from(tuple(FamilyType)))
    name = f"{draw(st.sampled_from(['a', 'b:c', 'relay_up']))}_{kind}"
    return Family.of(name, kind, draw(texts), tuple(draw(st.lists(series(kind), max_size=3))))


resources = st.dictionaries(
    st.sampled_from(["service.name", "relay.name", "team"]), texts, max_size=3
)

scrapes = st.builds(
    Scrape,
    up=st.booleans(),
    duration_s=st.floats(0, 1e6),
    samples=counts,
    last_success_ms=instants,
    failures=st.lists(
        st.builds(Failure, texts, texts, st.integers(1, 9)),
        max_size=2,
        unique_by=lambda failure: (failure.endpoint, failure.type),
    ).map(tuple),
    keys_failed=counts,
    keys_left_out=counts,
    models_left_out=counts,
    shard=st.sampled_from(["", "2/4"]),
    resource=resources,
)

snapshots = st.builds(
    Snapshot,
    kind=st.sampled_from(tuple(KINDS)),
    relay=texts,
    time_ms=st.just(TIME_MS),
    resource=resources,
    scrape=st.none() | scrapes,
    readings=st.lists(readings(), max_size=4).map(tuple),
    families=st.lists(families(), max_size=3).map(tuple),
)
"""A snapshot whose texts are well-formed, as everything is that comes through the edge."""
