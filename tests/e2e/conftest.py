"""What the tests of the built artefacts and of what is stored share."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from tests.e2e.victoriametrics import installed

LAYERS = {"arm64": "AggregatorLayerArm64", "x86_64": "AggregatorLayerX8664"}
HERE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
"""The processor whose layer runs on this machine."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder: a folder for each function and layer, and the built template."""
    folder = tmp_path_factory.mktemp("built")
    tools = ROOT / ".venv-deploy" / "bin"
    subprocess.run(
        [tools / "sam", "build", "--no-cached", "--build-dir", folder],
        cwd=ROOT,
        env={**os.environ, "PYTHON": str(tools / "python"), "SAM_CLI_TELEMETRY": "0"},
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return folder


@pytest.fixture(scope="session")
def victoriametrics() -> Path:
    """VictoriaMetrics' program."""
    return installed()
