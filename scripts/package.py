"""Make files for a deployment without a toolchain: template, a zip for each artefact, checksums.

    python -m scripts.package [--bucket BUCKET [--prefix PREFIX]] [BUILT [INTO]]

BUILT is where `sam build` put the artefacts (`.aws-sam/build`), INTO is made anew (`dist`). Without
a bucket the template names the zips beside it, for `sam deploy --template-file`; with one it names
them in the bucket, for a stack that is made from the template's URL. The same artefacts give the
same zips, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BESIDE: Final = ("CHANGELOG.md", "LICENSE", "NOTICE", "README.md")
"""Files that accompany the code: the licence, and those named in the template's metadata."""

_FIRST_INSTANT: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time in a zip; it replaces the times of all files."""


def package(built: Path, into: Path, bucket: str | None = None, prefix: str = "") -> list[Path]:
    """Write the folder; the files in it.

    Args:
        built: the build folder, with a folder for each artefact.
        into: is removed first.
        bucket: where the zips will be.
        prefix: before their names in the bucket.

    Raises:
        FileNotFoundError: an artefact of the template has not been built.
    """
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    where = "" if bucket is None else f"s3://{bucket}/{prefix.strip('/') + '/' if prefix else ''}"
    text, artefacts = _template((ROOT / "template.yaml").read_text("utf-8"), where)
    for name in artefacts:
        _zip(built / name, into / f"{name}.zip")
    (into / "template.yaml").write_text(text, "utf-8")
    for name in BESIDE:
        shutil.copy(ROOT / name, into / name)
    files = sorted(into.iterdir())
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (into / "SHA256SUMS").write_text("".join(sums), "utf-8")
    return [*files, into / "SHA256SUMS"]


def _template(text: str, where: str) -> tuple[str, list[str]]:
    """The template with new locations of the code, and the logical ids of that code."""
    resource, artefacts, lines = "", [], []
    for line in text.splitlines(keepends=True):
        if named := re.match(r"  (\w+):$", line):
            resource = named[1]
        if re.match(r"      (CodeUri|ContentUri): ", line):
            artefacts.append(resource)
            lines.append(f"{line.partition(': ')[0]}: {where}{resource}.zip\n")
        elif not line.strip().startswith(("BuildMethod:", "BuildArchitecture:", "ContextPath:")):
            lines.append(line)
    return re.sub(r"(?m)^    Metadata:\n(?!      )", "", "".join(lines)), artefacts


def _zip(folder: Path, file: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there: sam build makes it")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _FIRST_INSTANT)
            entry.external_attr = (0o755 if path.suffix == ".so" else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def launch_link(place: str, region: str) -> str:
    """A link that opens the parameters of a new stack in the console.

    Args:
        place: bucket and prefix.
        region: of the bucket.
    """
    bucket, _, prefix = place.partition("/")
    template = "/".join(
        filter(None, (f"{bucket}.s3.{region}.amazonaws.com", prefix, "template.yaml"))
    )
    return (
        f"https://{region}.console.aws.amazon.com/cloudformation/home?region={region}"
        f"#/stacks/create/review?stackName=relay-metrics&templateURL=https://{template}"
    )


def main() -> None:
    """Write the folder, and print its contents and the next steps."""
    parser = argparse.ArgumentParser(prog="python -m scripts.package", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("built", nargs="?", type=Path, default=ROOT / ".aws-sam/build")
    parser.add_argument("into", nargs="?", type=Path, default=ROOT / "dist")
    parser.add_argument("--bucket", help="name the zips in this bucket")
    parser.add_argument("--prefix", default="", help="before their names in it")
    arguments = parser.parse_args()
    into = arguments.into
    for file in package(arguments.built, into, arguments.bucket, arguments.prefix):
        print(f"{file.stat().st_size:>10,} {file.relative_to(into.parent)}")
    if arguments.bucket is None:
        print(
            f"\nNext: sam deploy --template-file {into.name}/template.yaml --parameter-overrides"
            " RelayBaseUrl=… OtelExportUrl=…"
        )
    else:
        place = "/".join(filter(None, (arguments.bucket, arguments.prefix.strip("/"))))
        print(f"\nNext: aws s3 cp --recursive {into.name} s3://{place}/")
        print("Then open, with the bucket's region in place of REGION:")
        print(launch_link(place, "REGION"))


if __name__ == "__main__":
    main()
