"""Who uses a relay and when: a pure function of a seed and the time.

    member = Member("alpha", requests_a_day=700, models={"gpt-5": 1.0})
    for use in uses(seed=1, member=member, hour=hour_of(clock())):
        print(use.at_s, use.model, use.requests, use.input_tokens)

`uses` gives everything that one member asks for in one hour, in the order of time, and the same
whenever it is asked: nothing is kept, so any hour of any day costs the same few microseconds.
People work from nine to six by their own clock, hardly at weekends; a batch job runs at night; a
service is used around the clock. No two days of a member are alike. `incident_at` says when the
providers behind the relay are slow: on some days, for less than an hour, in working hours.

It knows neither prices nor limits nor accounts: `life` applies those of a
simulated Claude Relay Service, and any other simulated relay can draw its usage from here alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

HOUR_S, DAY_S = 3600, 86_400
SLOT_S = 300
"""A member asks at most once in it, for several requests."""

INCIDENT_DAYS = 0.4
"""The share of days with an incident."""


class Rhythm(StrEnum):
    """When a member is at work."""

    PERSON = "person"
    BATCH = "batch"
    SERVICE = "service"


_HOURS: Mapping[Rhythm, Sequence[float]] = {
    Rhythm.PERSON: (
        *(0.02, 0.01, 0, 0, 0, 0, 0.02, 0.1, 0.5, 1.2, 1.6, 1.5),
        *(0.7, 1.1, 1.6, 1.7, 1.5, 1.1, 0.5, 0.2, 0.15, 0.15, 0.1, 0.05),
    ),
    Rhythm.BATCH: (*(0.3, 2.5, 3, 2, 0.5), *[0.05] * 19),
    Rhythm.SERVICE: (*[0.6] * 7, *[1.0] * 3, *[1.3] * 10, *[0.9] * 4),
}
_WEEKEND: Mapping[Rhythm, float] = {Rhythm.PERSON: 0.08, Rhythm.BATCH: 0.9, Rhythm.SERVICE: 0.7}


@dataclass(frozen=True)
class Member:
    """Somebody who uses a relay, or a machine that does.

    Attributes:
        name: seeds the random pattern: another name has another pattern.
        requests_a_day: on an ordinary working day.
        models: what is asked for, and how often compared with the others.
        utc_offset_hours: of the clock on the member's wall.
        context_tokens: what a request reads from the cache, about.
        days_a_month: on how many of thirty days the member is there at all.
    """

    name: str
    requests_a_day: float
    models: Mapping[str, float]
    rhythm: Rhythm = Rhythm.PERSON
    utc_offset_hours: float = 8
    context_tokens: int = 30_000
    days_a_month: float = 30


class Use(NamedTuple):
    """Requests that a member makes at one time; tokens are those of all of them together."""

    at_s: int
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cache_create_tokens: int
    cache_read_tokens: int


class Incident(NamedTuple):
    """A time in which answers come late: how many times later, and which share is refused."""

    begins_s: int
    ends_s: int
    slower: float
    refused: float


def hour_of(at_s: float) -> int:
    """The hour that an instant is in, in hours since 1970."""
    return int(at_s // HOUR_S)


def expected(member: Member, hour: int, seed: int = 1) -> float:
    """How many requests a member makes in an hour on average over chance, `seed` as in `uses`."""
    local = hour * HOUR_S + member.utc_offset_hours * HOUR_S
    day, of_day = int(local // DAY_S), int(local % DAY_S // HOUR_S)
    rng = random.Random(f"{seed}:{member.name}:day:{day}")  # noqa: S311 - wanted repeatable
    if rng.random() * 30 >= member.days_a_month:
        return 0.0
    hours = _HOURS[member.rhythm]
    # the first of January 1970 was a Thursday
    weekend = _WEEKEND[member.rhythm] if (day + 3) % 7 >= 5 else 1.0
    return member.requests_a_day * hours[of_day] / sum(hours) * weekend * (0.6 + 0.8 * rng.random())


def uses(seed: int, member: Member, hour: int) -> list[Use]:
    """All that a member asks for in an hour, in the order of time.

    Args:
        hour: in hours since 1970, as `hour_of` gives it.
    """
    slots = HOUR_S // SLOT_S
    wanted = expected(member, hour, seed) / slots
    if wanted <= 0:
        return []
    rng = random.Random(f"{seed}:{member.name}:hour:{hour}")  # noqa: S311 - wanted repeatable
    models, limits = list(member.models), list(accumulate(member.models.values()))
    found = []
    for slot in range(slots):
        # an agent makes requests in bursts: rather several at once than one now and then
        if rng.random() >= wanted / (wanted + 1):
            continue
        requests = 1 + int(-math.log(1 - rng.random()) * (wanted + 0.5))
        pick = rng.random() * limits[-1]
        model = next(name for name, limit in zip(models, limits, strict=True) if pick < limit)
        found.append(
            Use(
                hour * HOUR_S + slot * SLOT_S + int(rng.random() * SLOT_S),
                model,
                requests,
                requests * int(150 + 1_800 * rng.random()),
                requests * int(60 + 900 * rng.random() ** 2),
                requests * int(member.context_tokens * 0.12 * rng.random()),
                requests * int(member.context_tokens * 2 * rng.random()),
            )
        )
    return found


@lru_cache(maxsize=256)
def incidents(seed: int, day: int) -> Sequence[Incident]:
    """The incidents that begin on a day (UTC, in days since 1970): none or one."""
    rng = random.Random(f"{seed}:incident:{day}")  # noqa: S311 - wanted repeatable
    if rng.random() >= INCIDENT_DAYS:
        return ()
    begins_s = day * DAY_S + int((1 + 9 * rng.random()) * HOUR_S)
    length_s = int((15 + 40 * rng.random()) * 60)
    slower, refused = 4 + 8 * rng.random(), 0.2 + 0.5 * rng.random()
    return (Incident(begins_s, begins_s + length_s, slower, refused),)


def incident_at(seed: int, at_s: float) -> Incident | None:
    """The incident that is going on at an instant."""
    day = int(at_s // DAY_S)
    # one may go on past midnight
    for incident in (*incidents(seed, day - 1), *incidents(seed, day)):
        if incident.begins_s <= at_s < incident.ends_s:
            return incident
    return None
