"""The linters have nothing to say of the template."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.template.deployed import ROOT


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
