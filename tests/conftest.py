"""Options of the test run, and what is the same for every test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import pytest
from hypothesis import HealthCheck, settings

from relay_metrics import observability

# how long an example takes says more of the machine than of the code
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-cases",
        action="store_true",
        help="write what the cases in tests/cases give now into their expected.txt",
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter by what it is for where its own text could differ between two collections.

    Compressed bytes hold the second they were made in, and the text of an object its address: two
    workers would collect different tests. Pytest numbers what then has one name.
    """
    if val is None or isinstance(val, str | int | float | complex | bool | re.Pattern | Enum):
        return None
    return getattr(val, "__name__", None) or argname


@contextmanager
def _hides_for_itself() -> Iterator[None]:
    """Forget at the end what was hidden meanwhile: no text depends on which tests ran before."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_hidden", "_short"):
            patch.setattr(observability, name, set(getattr(observability, name)))
        yield


@pytest.fixture(autouse=True, scope="module")
def _file_hides_for_itself() -> Iterator[None]:
    with _hides_for_itself():
        yield


@pytest.fixture(autouse=True)
def _test_hides_for_itself() -> Iterator[None]:
    with _hides_for_itself():
        yield
