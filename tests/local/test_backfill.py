"""`make backfill`: call after call until it is done, and as a newcomer runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import date
from typing import Any

import pytest

from local.backfill import BackfillError, event_of, run
from local.greptimedb import GreptimeDB
from local.relay import living_relay
from local.relay.demo import ADMIN
from relay_metrics.backfill import Order
from tests import ROOT

DOCUMENT = (ROOT / "docs" / "backfill.md").read_text("utf-8")


def relay(first: str | None, last: str | None, samples: int = 10, **more: Any) -> dict[str, Any]:
    delivered = {"name": "main", "kind": "claude-relay", "up": True, "error": None}
    return {**delivered, "samples": samples, "from": first, "to": last, **more}


class Function:
    """Answers events with reports, one after the other; a dry run with the plan."""

    def __init__(self, *reports: dict[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self._reports = list(reports)

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        if event.get("dry_run"):
            plan = relay("2026-11-01", "2026-11-04", 40, requests={"a": 6}, scans=4)
            return {"relays": [plan], "destinations": [], "next": None}
        self.events.append(event)
        return self._reports.pop(0)


def report(delivered: dict[str, Any], following: dict[str, Any] | None) -> dict[str, Any]:
    return {"relays": [delivered], "destinations": [], "next": following}


EVENT = {"action": "backfill", "from": "2026-11-01", "to": "2026-11-04"}


def test_it_goes_on_where_next_says_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    following = {**EVENT, "from": "2026-11-03"}
    function = Function(
        report(relay("2026-11-01", "2026-11-02"), following),
        report(relay("2026-11-03", "2026-11-04"), None),
    )
    slept: list[float] = []

    assert run(function, EVENT, sleep=slept.append) == 0

    assert function.events == [EVENT, following]
    assert len(slept) == 1
    assert 0 < slept[0] <= 60
    said = capsys.readouterr().out
    assert "6 requests, of which 4 scan its database, at most 40 points" in said
    assert f"[{'#' * 15}{'.' * 15}] 2 of 4 days, 10 points, about 1 min left" in said
    assert f"[{'#' * 30}] 4 of 4 days, 20 points" in said
    assert "main: 2026-11-01 to 2026-11-04, 20 points" in said


def test_it_ends_where_there_is_no_progress_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stuck = report(relay(None, None, 0, error="relay main: it does not answer"), EVENT)
    function = Function(stuck, stuck, stuck, stuck)

    assert run(function, EVENT, sleep=lambda _: None) == 1

    assert len(function.events) == 3
    said = capsys.readouterr().out
    assert "→ relay main: it does not answer" in said
    assert "To go on later: FROM=2026-11-01" in said


def test_a_dry_run_delivers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    function = Function()
    assert run(function, EVENT, dry_run=True) == 0
    assert function.events == []
    assert "2026-11-01 to 2026-11-04" in capsys.readouterr().out


def test_variables_make_the_event() -> None:
    assert event_of({}) == {"action": "backfill"}
    variables = {"FROM": "2026-10-01", "TO": " ", "RELAYS": "a, b", "MODELS": "1", "SCANS": "40"}
    assert event_of(variables) == {
        "action": "backfill",
        "from": "2026-10-01",
        "relays": ["a", "b"],
        "models": True,
        "scans": 40,
    }
    with pytest.raises(BackfillError, match="SCANS"):
        event_of({"SCANS": "many"})


def test_as_a_newcomer_runs_it_and_takes_it_back() -> None:
    """A relay of one's own, into a database of one's own, without AWS."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with living_relay(days=5) as own, GreptimeDB(username="u", password="p") as database:
        done = subprocess.run(
            [sys.executable, "-m", "local.backfill"],
            cwd=ROOT,
            env={
                **environment,
                "RELAY_BASE_URL": own.url,
                "RELAY_NAME": "main",
                "RELAY_ADMIN_USERNAME": ADMIN[0],
                "RELAY_ADMIN_PASSWORD": ADMIN[1],
                "OTEL_EXPORT_URL": database.url,
                "GREPTIME_USERNAME": "u",
                "GREPTIME_PASSWORD": "p",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "5 of 5 days" in done.stdout
        assert ADMIN[1] not in done.stdout + done.stderr
        delivered = days(database)
        assert len(delivered) == 5
        # the document's statement, for the first two days in place of October
        [undo] = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
        undo = undo.replace("2026-10-01", delivered[0]).replace("2026-11-01", delivered[2])
        database.sql(undo)
        assert days(database) == delivered[2:]


def days(database: GreptimeDB) -> list[str]:
    """The days that are there, ascending."""
    rows = database.sql(
        "SELECT DISTINCT strftime(greptime_timestamp, '%Y-%m-%d') AS day"
        " FROM relay_day_cost_usd WHERE relay_name = 'main' ORDER BY day"
    )
    return [row["day"] for row in rows]


def test_the_document_s_event_and_fields_are_those_that_are_read() -> None:
    [event] = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    order = Order.of(json.loads(event))
    assert order == Order(date(2026, 10, 1), date(2026, 10, 31), True, None, False)
    fields = re.findall(r"(?m)^\| (`\w+`(?:, `\w+`)*) \| \S", DOCUMENT.split("## The event")[1])
    named = {name for field in fields for name in re.findall(r"\w+", field)}
    assert named == {"from", "to", "relays", "models", "scans", "dry_run"}
