"""Back-filling from a relay as the function does, into a destination that keeps what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from local.relay import ClaudeRelay
from relay_metrics.entry.actions import act
from relay_metrics.errors import NotDelivered, SettingsError
from relay_metrics.runtime import Runtime
from tests.collecting import LOGIN, PATIENT, Provider, Taker


class Row(NamedTuple):
    """A row as a database that keeps the last write has it: series, time and value."""

    name: str
    at_ms: int
    labels: tuple[tuple[str, str], ...]
    value: float

    @classmethod
    def of(cls, name: str, at_ms: int, value: float, labels: Mapping[str, str]) -> Row:
        """A row with the labels that distinguish it from others of its name."""
        return cls(name, at_ms, tuple(sorted(labels.items())), float(value))

    @property
    def identity(self) -> tuple[str, int, tuple[tuple[str, str], ...]]:
        """What the last write of is kept."""
        return self.name, self.at_ms, self.labels


def rows_of(pushed: Iterable[ExportMetricsServiceRequest]) -> set[Row]:
    """The rows that some requests make, the last of equal ones, without the relay's own labels.

    A day's figures have the relay's name and kind, a key's its id, and no other resource attribute.
    """
    rows: dict[Any, Row] = {}
    for request in pushed:
        for resource in request.resource_metrics:
            given = {one.key: one.value.string_value for one in resource.resource.attributes}
            days = {key: text for key, text in given.items() if key.startswith("relay.")}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name.startswith("relay_day_"):
                        assert given.keys() <= {"relay.name", "relay.kind", "relay.key.id"}
                    for point in metric.gauge.data_points:
                        labels = {
                            **{k: v for k, v in days.items() if k == "relay.key.id"},
                            **{one.key: one.value.string_value for one in point.attributes},
                        }
                        row = Row.of(
                            metric.name,
                            point.time_unix_nano // 10**6,
                            point.as_double or point.as_int,
                            {key.replace(".", "_"): text for key, text in labels.items()},
                        )
                        rows[row.identity] = row
    return set(rows.values())


class Backfiller(Taker):
    """Sends events to the collector in one execution environment, by the relay's own clock.

    Args:
        secret: of the relay's place in the secret.
        overwrites: whether the destination keeps the last write.
        also: the URL of another destination that does.
        variables: of the collector.
    """

    def __init__(
        self,
        relay: ClaudeRelay,
        *,
        secret: Mapping[str, Any] = LOGIN,
        overwrites: bool = True,
        also: str | None = None,
        **variables: str,
    ) -> None:
        super().__init__()
        url = self.server.url
        default = {"OTEL_EXPORT_URL": url} if overwrites else {}
        document: dict[str, Any] = {
            "relays": [{"name": "main", "base_url": relay.url, **secret}],
        }
        if also is not None:
            document["destinations"] = [{"name": "also", "url": also, "overwrites": True}]
        if not overwrites:
            document["destinations"] = [{"name": "other", "url": f"{url}/v1/metrics"}]
        self._runtime = Runtime(
            {**PATIENT, **default, **variables},
            Provider(document),
            clock=lambda: round(relay.clock() * 1e9),
        )

    def run(self, event: Mapping[str, Any], seconds: float = 60) -> dict[str, Any]:
        """The answer to a back-fill's event."""
        return self.act({"action": "backfill", **event}, seconds)

    def act(self, event: Mapping[str, Any], seconds: float = 60) -> dict[str, Any]:
        """The answer to any event."""
        self.pushed = []
        return act(self._runtime, event, seconds)

    def loses(self, event: Mapping[str, Any]) -> None:
        """A run whose samples are neither taken nor spooled."""
        with pytest.raises(NotDelivered):
            self.act(event, 5)

    def refusal(self, event: Mapping[str, Any]) -> str:
        """What is said to an event that is wrong."""
        try:
            self.run(event)
        except SettingsError as error:
            return str(error)
        raise AssertionError("it was not refused")
