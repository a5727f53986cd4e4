"""The back-fill of a Wyolet Relay's usage: its minutes, one day (UTC) at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from relay_metrics.errors import Declined, RelayError
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.past import DAYS_BEFORE, Piece, Plan, Wanted
from relay_metrics.relays.phases import Request
from relay_metrics.relays.wyolet import keys, usage
from relay_metrics.relays.wyolet.administrator import Known
from relay_metrics.relays.wyolet.keys import RELAY_KEYS
from relay_metrics.relays.wyolet.run import State
from relay_metrics.relays.wyolet.settings import access
from relay_metrics.relays.wyolet.timeseries import TIMESERIES, Usage, Window
from relay_metrics.snapshot import Scope

_DAY_MS = 86_400_000


def past(client: RelayClient, state: State, wanted: Wanted) -> WyoletPast:
    """The days that are over. How far back they have figures depends on the relay's backend.

    Raises:
        Declined: the settings have no access to the relay's usage.
        RelayError: in a dry run, the request for the number of points failed.
    """
    if not access(client.relay).usage:
        raise Declined(client.relay.name, "a back-fill needs an admin_token in the secret")
    found = WyoletPast(client, state.known.setdefault(client.relay.name, Known()), wanted)
    if wanted.dry_run:
        found.count()
    return found


class WyoletPast:
    """The usage of a relay on days that are over."""

    def __init__(self, client: RelayClient, known: Known, wanted: Wanted) -> None:
        self._client = client
        self._memory = known.usage
        yesterday = datetime.fromtimestamp(client.time_ms / 1000, UTC).date() - timedelta(days=1)
        last = min(wanted.last or yesterday, yesterday)
        first = wanted.first or last - timedelta(days=DAYS_BEFORE)
        days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
        # one request for the list of keys, and two for each day: by model and by key
        asked = {TIMESERIES: 2 * len(days), RELAY_KEYS: 1} if days else {}
        self.plan = Plan(days, last, asked)

    def count(self) -> None:
        """Set the plan's number of points, at most, with requests to the relay.

        Raises:
            RelayError: a request failed.
        """
        if days := self.plan.days:
            window = Window(_midnight_ms(days[0]), _midnight_ms(days[-1]) + _DAY_MS)
            self.plan.points = usage.most_points(self._client, self._memory, window)

    def pieces(self) -> Iterator[Piece]:
        """The days, in their order.

        Usage of a hash that belongs to no key is left out and counted: while the key existed, it
        was reported under the key's id.
        """
        names = self._memory.names
        try:
            names.take(self._client, keys.ask(self._client))
        except RelayError as error:
            self._client.failed(error)
            return
        for day in self.plan.days:
            yield self._piece(day)

    def _piece(self, day: date) -> Piece:
        start_ms = _midnight_ms(day)
        window = Window(start_ms, start_ms + _DAY_MS)
        client, memory = self._client, self._memory
        answers: dict[Scope, Usage] = {}
        client.together(
            [
                Request(
                    TIMESERIES,
                    lambda: usage.by_model(client, memory, window),
                    lambda one: answers.__setitem__(Scope.USAGE_MODEL, one),
                ),
                Request(
                    TIMESERIES,
                    lambda: usage.by_key(client, memory, window),
                    lambda one: answers.__setitem__(Scope.USAGE_KEY, one),
                ),
            ]
        )
        for one in answers.values():
            for type, count in one.left_out.items():
                client.left_out(TIMESERIES, type, count)
        models = answers[Scope.USAGE_MODEL].minutes if Scope.USAGE_MODEL in answers else ()
        by_key = answers[Scope.USAGE_KEY].minutes if Scope.USAGE_KEY in answers else ()
        nobodys = usage.unknown(by_key, memory.names)
        if nobodys:
            client.left_out(RELAY_KEYS, "unknown_key", len(nobodys))
        readings = (*usage.of_models(models), *usage.of_keys(by_key, memory.names, nobodys))
        return Piece(day, readings, len(answers) == 2)


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
