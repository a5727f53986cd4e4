"""What is deployed: what the layers and the functions hold, and what not."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from scripts.notice import licence, shipped
from scripts.package import package
from tests import ROOT
from tests.e2e.conftest import LAYERS
from tests.template.deployed import source

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
    for name in shipped():
        folders = site.glob(f"{name.replace('-', '_')}-*.dist-info")
        texts = [path.name for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert any(text.startswith("LICENSE") for text in texts), name


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
    assert _built_into(tmp_path) == _contents(built / LAYERS["arm64"])


@pytest.mark.parametrize(
    "settings",
    [
        {"PIP_USER": "1"},
        {"PIP_REQUIRE_VIRTUALENV": "1"},
        {"PIP_PREFIX": "/nowhere"},
        "[install]\nuser = true\n",
        "[install]\nprefix = /nowhere\n[global]\nrequire-virtualenv = true\n",
    ],
    ids=str,
)
def test_a_user_s_settings_of_pip_do_not_matter(
    settings: dict[str, str] | str, built: Path, tmp_path: Path
) -> None:
    if isinstance(settings, str):
        file = tmp_path / "pip.conf"
        file.write_text(settings, "utf-8")
        settings = {"PIP_CONFIG_FILE": str(file)}
    made = _built_into(tmp_path / "layer", variables=settings)
    assert made == _contents(built / LAYERS["arm64"])


def test_a_path_may_have_a_space_in_it(built: Path, tmp_path: Path) -> None:
    place = tmp_path / "my projects"
    place.mkdir()
    python = place / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "utf-8")
    python.chmod(0o755)
    copy = place / "relay metrics"
    shutil.copytree(ROOT / "layers/aggregator", copy, ignore=shutil.ignore_patterns("__pycache__"))
    made = _built_into(place / "the layer", folder=copy, python=python)
    assert made == _contents(built / LAYERS["arm64"])


def _built_into(
    into: Path,
    *,
    folder: Path = ROOT / "layers/aggregator",
    python: Path = Path(sys.executable),
    variables: dict[str, str] | None = None,
) -> dict[Path, bytes]:
    """What the layer's own makefile makes."""
    subprocess.run(
        ["make", "build-AggregatorLayerArm64", f"ARTIFACTS_DIR={into}", f"PYTHON={python}"],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return _contents(into)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# -- the package


@pytest.fixture(scope="module")
def packaged(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("package") / "dist"
    package(built, into)
    return into


def test_a_package_has_a_zip_of_each_artefact_with_its_checksum(
    packaged: Path, built: Path
) -> None:
    text = (packaged / "SHA256SUMS").read_text("utf-8")
    sums = {name: digest for digest, name in map(str.split, text.splitlines())}
    assert sums.keys() == {path.name for path in packaged.iterdir()} - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((packaged / name).read_bytes()).hexdigest() == digest
    artefacts = {path.name for path in built.iterdir() if path.is_dir()}
    assert {path.stem for path in packaged.glob("*.zip")} == artefacts
    for name in artefacts:
        with zipfile.ZipFile(packaged / f"{name}.zip") as archive:
            held = {Path(one): archive.read(one) for one in archive.namelist()}
        assert held == _contents(built / name)


def test_the_same_artefacts_give_the_same_package(
    packaged: Path, built: Path, tmp_path: Path
) -> None:
    package(built, tmp_path / "again")
    assert _contents(tmp_path / "again") == _contents(packaged)


def test_a_package_s_template_is_the_template_with_its_code_beside_it(packaged: Path) -> None:
    template = yaml_parse((packaged / "template.yaml").read_text("utf-8"))
    code = {
        properties.get("CodeUri") or properties.get("ContentUri")
        for properties in (one.get("Properties", {}) for one in template["Resources"].values())
    } - {None}
    assert code == {path.name for path in packaged.glob("*.zip")}
    for resource in template["Resources"].values():
        assert "BuildMethod" not in resource.get("Metadata", {})
    for section in ("Parameters", "Conditions", "Globals", "Outputs", "Metadata"):
        assert template[section] == source()[section]
    assert template["Resources"].keys() == source()["Resources"].keys()


def test_a_package_for_a_bucket_names_the_zips_there(built: Path, tmp_path: Path) -> None:
    package(built, tmp_path / "dist", "mine", "/relay-metrics/1.0.0/")
    text = (tmp_path / "dist/template.yaml").read_text("utf-8")
    assert text.count("Uri: s3://mine/relay-metrics/1.0.0/") == 5
    validated = subprocess.run(
        [ROOT / ".venv-deploy/bin/sam", "validate", "--lint", "--template-file", "template.yaml"],
        cwd=tmp_path / "dist",
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-central-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert validated.returncode == 0, validated.stdout + validated.stderr
