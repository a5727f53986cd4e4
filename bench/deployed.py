"""The collector as it is deployed: the built layer, AWS's runtime client, a function's environment.

with layer() as built:
    print(built.zipped_bytes, peak_bytes(built.folder, servers.one_key()))
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.collector import ROOT
from local.runtime_api import Function

_ARM = {"arm64", "aarch64"}
_RUNS = 5


@dataclass(frozen=True, slots=True)
class Layer:
    """A built layer, unpacked, and its size as a zip file."""

    folder: Path
    zipped_bytes: int


@contextmanager
def layer() -> Iterator[Layer]:
    """Build the layer for this machine's processor by its Makefile, as `sam build` does."""
    name = "Arm64" if platform.machine() in _ARM else "X8664"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        made = subprocess.run(
            [  # noqa: S607 - whichever make runs this
                "make",
                f"build-AggregatorLayer{name}",
                f"ARTIFACTS_DIR={folder}",
                f"PYTHON={sys.executable}",
            ],
            cwd=ROOT / "layers" / "aggregator",
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if made.returncode:
            raise RuntimeError(f"the layer cannot be built: {made.stderr}")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in Path(folder).rglob("*"):
                archive.write(path, path.relative_to(folder))
        yield Layer(Path(folder), file.tell())


def peak_bytes(layer: Path, environment: Mapping[str, str]) -> int:
    """The peak memory of the function's process in a few runs, including the runtime client.

    Raises:
        subprocess.CalledProcessError: a run failed; it says why on the standard error.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "bench.deployed"],
        input=json.dumps({"layer": str(layer), "environment": dict(environment)}),
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    return int(ended.stdout)


def main() -> None:
    """Run the function, the only child of this process, and print its peak memory."""
    asked = json.load(sys.stdin)
    function = Function(
        ROOT / "functions" / "collector",
        "app.lambda_handler",
        asked["environment"],
        layer_path=Path(asked["layer"]),
        isolated=True,
    )
    with function:
        for _ in range(_RUNS):
            result = function.invoke({})
            if result.error:
                raise RuntimeError(result.error.message)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(peak if sys.platform == "darwin" else peak * 1024)


if __name__ == "__main__":
    main()
