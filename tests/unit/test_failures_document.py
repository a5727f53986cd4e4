"""docs/failures.md says what can go wrong, and its commands read what we write."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from relay_metrics.deliver.pieces import Piece
from relay_metrics.deliver.spool import Message
from relay_metrics.net.http import _FAILURES
from relay_metrics.snapshot import Snapshot
from tests.template.deployed import ROOT

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


def test_a_message_is_unfolded_as_the_document_says() -> None:
    assert "| jq -r .snapshot | base64 -d | gunzip | jq\n" in DOCUMENT
    body = Message("default", Piece(Snapshot("claude-relay", "tëam", 1, {"a": "b"}))).dump()
    packed = json.loads(str(body))["snapshot"]
    unfolded = subprocess.run(
        "base64 -d | gunzip", shell=True, input=packed.encode(), capture_output=True, check=True
    )
    assert json.loads(unfolded.stdout)["relay"] == "tëam"
