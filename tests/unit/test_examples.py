"""The examples in docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tests import ROOT

FOLDERS = {ROOT / "layers/aggregator": "relay_metrics", ROOT: "local"}


def _with_examples() -> list[str]:
    """The modules that have any, by name."""
    return [
        ".".join(path.relative_to(folder).with_suffix("").parts)
        for folder, package in FOLDERS.items()
        for path in sorted(Path(folder / package).rglob("*.py"))
        if ">>> " in path.read_text("utf-8")
    ]


@pytest.mark.parametrize("name", _with_examples())
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
