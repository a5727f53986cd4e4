"""What is deployed: what the layers and the functions hold, and what not."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from scripts.notice import licence, shipped
from tests.e2e.conftest import LAYERS
from tests.template.deployed import ROOT

# ELF's e_machine.
MACHINES = {"arm64": 183, "x86_64": 62}


@pytest.fixture(params=LAYERS)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(built: Path, architecture: str) -> Path:
    return built / LAYERS[architecture] / "python"


def test_a_layer_holds_the_pinned_packages_and_no_others(site: Path) -> None:
    found = metadata.distributions(path=[str(site)])
    assert {
        one.metadata["Name"].lower().replace("_", "-"): one.version for one in found
    } == shipped()


def test_a_layer_holds_all_of_our_code(site: Path) -> None:
    source = ROOT / "layers" / "aggregator" / "relay_metrics"
    ours = {path.relative_to(source) for path in source.rglob("*.py")}
    assert {
        path.relative_to(site / "relay_metrics") for path in site.glob("relay_metrics/**/*.py")
    } == ours


def test_every_binary_is_for_the_layers_processor(site: Path, architecture: str) -> None:
    binaries = [path for path in site.rglob("*.so*") if path.is_file()]
    assert any(path.name.startswith("_message") for path in binaries), "protobuf has a fast one"
    for path in binaries:
        with path.open("rb") as file:
            head = file.read(20)
        assert head[:4] == b"\x7fELF"
        assert struct.unpack_from("<H", head, 18) == (MACHINES[architecture],), path


def test_nothing_is_shipped_that_does_not_run(site: Path) -> None:
    useless = {"__pycache__", "tests", "bin"}
    assert not [path for path in site.rglob("*") if path.name in useless]
    assert not [path for path in site.rglob("*") if path.suffix in {".pyc", ".pyi", ".c", ".h"}]


def test_every_package_brings_the_text_of_its_licence(site: Path) -> None:
    for package in shipped():
        folders = site.glob(f"{package.replace('-', '_')}-*.dist-info")
        texts = [path.name for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert any(name.startswith("LICENSE") for name in texts), package


def test_the_layers_packages_say_the_licences_that_notice_says(site: Path) -> None:
    text = (ROOT / "NOTICE").read_text("utf-8")
    for one in metadata.distributions(path=[str(site)]):
        name = one.metadata["Name"].lower().replace("_", "-")
        assert f"{name:<40} {one.version:<12} {licence(one.metadata)}\n" in text


def test_a_layer_stays_small(site: Path, tmp_path: Path) -> None:
    archive = tmp_path / "layer.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in site.rglob("*"):
            file.write(path, path.relative_to(site.parent))
    assert archive.stat().st_size < 5_000_000


@pytest.mark.parametrize("name", ["BackfillFunction", "CollectorFunction", "RedriverFunction"])
def test_a_function_is_its_one_file(built: Path, name: str) -> None:
    assert [path.name for path in (built / name).rglob("*")] == ["app.py"]


def test_any_python_that_may_build_it_builds_the_same(built: Path, tmp_path: Path) -> None:
    """Here with the Python of the tests, where the build used that of SAM."""
    layer = ROOT / "layers" / "aggregator"
    subprocess.run(
        [
            "make",
            "build-AggregatorLayerArm64",
            f"ARTIFACTS_DIR={tmp_path}",
            f"PYTHON={sys.executable}",
        ],
        cwd=layer,
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert _contents(tmp_path) == _contents(built / LAYERS["arm64"])


def _contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
