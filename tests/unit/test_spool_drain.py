"""What the documents promise of a spool that empties is what its redriver can do."""

from __future__ import annotations

import re

import pytest

from local.relay import ClaudeRelay, many_keys
from local.relay.demo import ADMIN
from relay_metrics.deliver.pieces import Piece
from relay_metrics.deliver.spool import Message
from relay_metrics.redrive import LONGEST_DELAY_S
from relay_metrics.snapshot import Snapshot
from scripts import spool_drain
from scripts.spool_drain import MESSAGE_BYTES_A_KEY, Redrivers, drained, main, table
from tests import ROOT
from tests.template.deployed import deployed, source
from tests.unit.claude import NOW, Asker

COMES_BACK_MIN = round(1.2 * LONGEST_DELAY_S / 60)


def test_the_document_has_what_is_computed() -> None:
    assert spool_drain.BEGIN + table() + spool_drain.END in spool_drain.FILE.read_text("utf-8")


def test_the_template_s_own_numbers_are_read() -> None:
    redriver = source()["Resources"]["RedriverFunction"]["Properties"]
    queue = redriver["Events"]["Spool"]["Properties"]
    assert Redrivers.of_template() == (
        queue["ScalingConfig"]["MaximumConcurrency"], queue["BatchSize"]
    )  # fmt: skip


def test_the_alarm_and_operations_say_no_less_than_that() -> None:
    alarm = deployed(AlarmTopicArn="arn:aws:sns:eu-central-1:1:x")["SpoolOldAlarm"]
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")
    for text in (alarm["Properties"]["AlarmDescription"], operations):
        plain = " ".join(text.split())
        assert f"come back within {COMES_BACK_MIN} minutes" in plain
        assert "after an outage of 14 days with 1,000 keys it takes 14 hours" in plain
    fortnight = drained(*spool_drain.OUTAGES[-1])
    assert (fortnight.minutes, fortnight.keys) == (14 * 24 * 60, 1000)
    assert round(fortnight.seconds / 3600) == 14
    # after a short one, the last message that comes back is all that it takes
    assert drained(60, 1, 0.5).seconds <= 60 * COMES_BACK_MIN


def test_a_message_has_no_more_bytes_a_key() -> None:
    with ClaudeRelay(many_keys(100), admin=ADMIN, clock=lambda: NOW) as relay:
        relay.tick()
        with Asker(relay) as asker:
            fetched = asker.run().fetched
    body = Message(
        "default", Piece(Snapshot("claude-relay", "main", 1, {}, None, fetched.readings))
    )
    assert MESSAGE_BYTES_A_KEY / 3 < len(str(body.dump())) / 100 <= MESSAGE_BYTES_A_KEY


def test_more_keys_than_a_message_holds_are_several_messages() -> None:
    assert [drained(60, keys, 0.5).messages for keys in (1000, 5000)] == [60, 120]


def test_one_line_is_for_an_outage_of_one_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    main(["20160", "1000", "5"])
    said = capsys.readouterr().out
    assert re.fullmatch(r"20,160 messages, empty 14 hours after the outage\n", said)
