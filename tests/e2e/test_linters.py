"""The linters have nothing to say of the template, and SAM knows the documents' options."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from tests.unit.test_docs import commands, of_the_workflow


@pytest.mark.parametrize(
    "command",
    [
        ".venv-deploy/bin/sam validate --lint",
        ".venv-deploy/bin/cfn-lint --include-checks I -- template.yaml",
        (
            ".venv-checkov/bin/checkov --quiet --compact --skip-download "
            "--framework cloudformation --file template.yaml"
        ),
    ],
    ids=lambda command: Path(command.split()[0]).name,
)
def test_a_linter_is_content(command: str) -> None:
    assert command in (ROOT / "Makefile").read_text("utf-8"), "`make validate` runs the same"
    done = subprocess.run(
        command.split(), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _documented() -> dict[str, set[str]]:
    """SAM's commands in the documents, each with the options that it is shown with."""
    shown: dict[str, set[str]] = {}
    for one in (*commands(), *of_the_workflow()):
        program, *words = one.values[0]
        if program == "sam":
            names = words[:2] if words[0] in {"local", "remote", "list"} else words[:1]
            options = {word for word in words if word.startswith("--")}
            shown.setdefault(" ".join(names), set()).update(options)
    return shown


@pytest.mark.parametrize("command", _documented())
def test_sam_has_every_option_that_the_documents_use(command: str) -> None:
    found = subprocess.run(
        [ROOT / ".venv-deploy/bin/sam", *command.split(), "--help"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    known = set(re.findall(r"--[a-z][a-z-]*", found.stdout))
    assert _documented()[command] <= known
