"""Options of the test run, and what is the same for every test."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes says more of the machine than of the code
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-cases",
        action="store_true",
        help="write what the cases in tests/cases give now into their expected.txt",
    )
