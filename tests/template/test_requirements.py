"""What is installed is pinned and hashed, from whichever index the machine has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import ROOT

FILES = [*sorted(ROOT.glob("requirements-*.txt")), ROOT / "layers/aggregator/requirements.txt"]
LAYER = FILES[-1]


def pins(path: Path) -> dict[str, str]:
    text = path.read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_has_a_version_and_a_hash(path: Path) -> None:
    requirements = re.split(r"\n(?=[A-Za-z0-9])", path.read_text("utf-8").strip())
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+==\S+ ", requirement), requirement.splitlines()[0]
        assert "--hash=sha256:" in requirement


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_an_index(path: Path) -> None:
    assert not re.search(r"index|find-links|://", path.read_text("utf-8"))


def test_the_layers_requirements_are_the_same_for_every_machine() -> None:
    # A marker would be read by the Python that builds, not by the one that runs.
    assert ";" not in LAYER.read_text("utf-8")


@pytest.mark.parametrize("name", ["requirements-local.txt", "requirements-dev.txt"])
def test_what_is_tested_is_what_is_shipped(name: str) -> None:
    here = pins(ROOT / name)
    assert {package: here.get(package) for package in pins(LAYER)} == pins(LAYER)
