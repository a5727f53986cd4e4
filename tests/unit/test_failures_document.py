"""docs/failures.md says what can go wrong, and its commands read what we write."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from relay_metrics.deliver.pieces import Piece
from relay_metrics.deliver.spool import Message
from relay_metrics.net.http import _FAILURES
from relay_metrics.snapshot import Snapshot
from tests import ROOT
from tests.integration import test_aws_and_time, test_redriver, test_secret_in_part
from tests.integration.test_faults import AT_DESTINATION

DOCUMENT = (ROOT / "docs" / "failures.md").read_text("utf-8")
SOURCES = sorted((ROOT / "layers" / "aggregator" / "relay_metrics").rglob("*.py"))
MAKES_A_TYPE = re.compile(
    r'(?:ExchangeError\(|NoExposition\(\s*|(?:invalid|left_out)\(\s*[^,()]+,|RelayError\([^()]*,)\s*"(\w+)"'
)


def test_every_type_of_failure_is_in_the_document() -> None:
    types = {
        found[1] for source in SOURCES for found in MAKES_A_TYPE.finditer(source.read_text("utf-8"))
    } | {type for _, type, _ in _FAILURES}
    assert {"dns", "timeout", "not_json", "malformed", "internal"} <= types
    assert [type for type in sorted(types) if f"`{type}`" not in DOCUMENT] == []


def test_every_type_of_failure_that_the_document_names_is_tried() -> None:
    table = DOCUMENT.partition("| what | `error.type` |")[2].partition("\n\n")[0]
    types = {
        type
        for row in table.splitlines()[2:]
        for type in re.findall(r"`(\w+)`", row.rpartition(" | ")[2])
    }
    assert len(types) >= 28
    tried = "".join(
        source.read_text("utf-8")
        for source in sorted((ROOT / "tests").rglob("*.*"))
        if source.suffix in (".py", ".txt") and source != Path(__file__)
    )
    untried = [one for one in types if not re.search(f'["=]{one}"', tried)]
    assert sorted(untried) == []


def rows_of(head: str) -> dict[str, str]:
    """The rows of a table of the document, what happens by what it happens to."""
    table = DOCUMENT.partition(head)[2].partition("\n\n")[0]
    cells = [row.strip("| ").split(" | ") for row in table.splitlines() if row.strip("|- ")]
    return dict(cells)


AT_DESTINATIONS: Mapping[str, Sequence[str]] = {
    "200, or any other 2xx": ["wrong JSON", "too long", "gzip bomb"],
    "200 with rejected points": ["partial success"],
    "401, 403": ["401 then good", "401 for ever", "403"],
    "404, any 3xx, any other 4xx; a 2xx": [
        *("302", "redirect elsewhere", "304", "404", "an echo", "HTML", "success: false"),
    ],
    "408, 429, 5xx, a reset": [
        *("408", "408 once", "429", "429 once", "429 for 1 s", "429 for an hour"),
        *("500", "503", "503 once", "HTML and 502"),
        *("reset before the answer", "stored, and the answer lost", "closed in the body"),
        *("no headers", "no body", "slow drip", "truncated gzip"),
        *("refused", "unknown name", "untrusted TLS"),
    ],
    "413; a time-out, 408 or 504 of a request of more than 64 kB": ["413 for the whole"],
    '400; "incompatible existing tables"': ["400", "500, incompatible tables"],
    "413 for what cannot be split further": ["413 for ever"],
}
"""The faults of a destination in `tests/integration/test_faults.py` that are of each row."""

IN_AWS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Secrets Manager fails, and an older copy": [
        test_aws_and_time.test_no_secret_but_an_older_copy
    ],
    "Secrets Manager fails, and none": [test_aws_and_time.test_no_secret_and_no_older_copy],
    "a variable is wrong": [
        test_secret_in_part.test_a_warm_environment_goes_on_with_the_last_good_secret,
        test_aws_and_time.test_a_secret_that_is_wrong,
    ],
    "an entry of `relays` is wrong": [
        test_secret_in_part.test_a_relay_whose_entry_is_wrong_is_down_and_the_others_are_collected
    ],
    "an entry of `destinations` is wrong": [
        test_secret_in_part.test_a_destination_whose_entry_is_wrong_gets_it_from_the_spool_once_it_is_corrected
    ],
    "the default destination's credentials": [
        test_secret_in_part.test_a_stack_that_is_not_filled_in_does_nothing_and_warns_once,
        test_secret_in_part.test_what_waits_in_the_spool_waits_until_the_database_is_filled_in,
    ],
    "SQS does not take a message": [
        test_aws_and_time.test_neither_the_destination_nor_the_queue,
        test_aws_and_time.test_the_dead_letter_queue_cannot_be_reached,
    ],
    "the function's time runs out": [
        test_aws_and_time.test_the_time_runs_out_while_a_relay_answers,
        test_aws_and_time.test_the_time_runs_out_while_pushing,
        test_aws_and_time.test_the_time_runs_out_while_spooling,
    ],
    "the redriver fails as a whole": [test_redriver.test_no_settings_to_go_by],
}
"""The tests that hold each row."""


@pytest.mark.parametrize(
    ("head", "tried"),
    [
        ("| what it answers | what happens |", AT_DESTINATIONS),
        ("## In AWS\n\n| what | what happens |", IN_AWS),
    ],
    ids=["at a destination", "in AWS"],
)
def test_every_row_of_the_document_is_tried(head: str, tried: Mapping[str, object]) -> None:
    rows = rows_of(head)
    assert [
        next((what for what in tried if row.startswith(what)), f"untried: {row}") for row in rows
    ] == [*tried]


def test_every_fault_of_a_destination_ends_as_its_row_says() -> None:
    rows = rows_of("| what it answers | what happens |")
    ends = {
        "pushed": "done|sent again|sent once more|is taken",
        "spooled": r"\*\*spooled\*\*",
        "rejected": "`rejected`",
        "dead": r"\*\*dead-letter queue\*\*",
    }
    fates = {str(row): row.fate for row in AT_DESTINATION}
    assert sorted(name for names in AT_DESTINATIONS.values() for name in names) == sorted(fates)
    for what, happens in rows.items():
        for row, names in AT_DESTINATIONS.items():
            if what.startswith(row):
                assert [name for name in names if not re.search(ends[fates[name]], happens)] == []


def test_a_message_is_unfolded_as_the_document_says() -> None:
    assert "| jq -r .snapshot | base64 -d | gunzip | jq\n" in DOCUMENT
    body = Message("default", Piece(Snapshot("claude-relay", "tëam", 1, {"a": "b"}))).dump()
    packed = json.loads(str(body))["snapshot"]
    unfolded = subprocess.run(
        "base64 -d | gunzip", shell=True, input=packed.encode(), capture_output=True, check=True
    )
    assert json.loads(unfolded.stdout)["relay"] == "tëam"
