"""NOTICE names what the layer ships, and under which licence."""

from __future__ import annotations

from importlib import metadata

import pytest

from scripts.notice import licence, notice, shipped
from tests import ROOT

# Licences that allow shipping the package beside ours, unchanged and with its text.
ALLOWED = {
    "Apache-2.0",
    "Apache-2.0 AND BSD-2-Clause",
    "BSD-3-Clause",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
}


def test_notice_is_what_the_pinned_packages_say() -> None:
    assert (ROOT / "NOTICE").read_text("utf-8") == notice()


@pytest.mark.parametrize("package", shipped())
def test_a_package_may_be_shipped(package: str) -> None:
    assert licence(metadata.metadata(package)) in ALLOWED


@pytest.mark.parametrize("package", shipped())
def test_the_version_here_is_the_one_that_is_shipped(package: str) -> None:
    assert metadata.version(package) == shipped()[package]


def test_the_licence_is_apaches() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
