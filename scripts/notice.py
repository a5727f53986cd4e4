"""Write NOTICE: the licences of what the layer ships, as its pinned packages state them.

python -m scripts.notice > NOTICE
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "layers" / "aggregator" / "requirements.txt"

HEAD = """\
relay-metrics
Copyright the relay-metrics authors

Licensed under the Apache License, Version 2.0: see LICENSE.

The Lambda layer ships these packages unchanged, without the files that never run. The text of
each licence is in the layer, in the package's .dist-info folder.

"""

# Where a package states its licence in words only: the SPDX name of the text that it ships.
_SPDX = {"aws-lambda-powertools": "MIT-0", "protobuf": "BSD-3-Clause"}


def shipped() -> dict[str, str]:
    """The version of each package that the layer ships, by name."""
    pins = re.findall(r"^([a-z0-9._-]+)==([^\s\\]+)", REQUIREMENTS.read_text("utf-8"), re.MULTILINE)
    return dict(pins)


def licence(stated: metadata.PackageMetadata) -> str:
    """The SPDX expression of the licence that a package's metadata states."""
    name = stated["Name"].lower().replace("_", "-")
    if name in _SPDX:
        return _SPDX[name]
    return stated["License-Expression" if "License-Expression" in stated else "License"]


def notice() -> str:
    """The text of NOTICE, of the packages installed here."""
    lines = [
        f"{name:<40} {version:<12} {licence(metadata.metadata(name))}"
        for name, version in shipped().items()
    ]
    parts = [HEAD + "\n".join(lines) + "\n"]
    for name in shipped():
        for file in metadata.files(name) or []:
            if file.name == "NOTICE":
                text = file.read_text("utf-8").strip()
                parts.append(f"\nNOTICE of {name}:\n\n{text}\n")
    return "".join(parts)


if __name__ == "__main__":
    print(notice(), end="")
