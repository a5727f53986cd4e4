"""What `tests/promql.py` takes for a query that GreptimeDB can answer, and what it does not."""

from __future__ import annotations

import pytest

from tests import promql

REFUSED = {
    "max(up": None,
    "a @ 5": "the @ modifier",
    'a{b=""}': '{b=""}',
    '{b="c"}': "a selector without a metric",
    'x_bucket{le="+Inf"}': "the last bucket, which has another name there: use _count",
    "max_over_time(a[1h:5m])": "a subquery, which it has learned only lately",
    "absent(a)": "the function absent",
    "stddev(a)": "the aggregation stddev",
    "sum without (b) (a)": "`without`: the other side of an operator cannot be compared with it",
    "max by (b) (time() - a)": "an aggregation over time()",
    "sum by (b) (a) / on (b) sum by (b) (c)": "on, ignoring or group_left",
    "sum by (b) (a) * on (b) group_right() topk by (b) (2, c)": "on, ignoring or group_left",
    "sum by (b, d) (a) * on (b) group_right() topk by (b) (1, c)": "on, ignoring or group_left",
    "topk by (b) (1, c) * on (b) group_left(d) sum by (b) (a)": "on, ignoring or group_left",
    "a / b": "an operator between other labels: None and None",
    "sum by (b) (sum by (c) (a))": "labels that are gone by then: ['b']",
}

TAKEN = (
    "time() - max by (b) (a)",
    "1 - sum by (b) (rate(a[5m])) / sum by (b) (rate(c[5m])) > 0.1",
    "histogram_quantile(0.99, sum by (le, b) (rate(a_bucket[5m]))) / sum by (b) (c)",
    "max by (b) (a) unless max by (b) (a offset 1h)",
    "sort_desc(topk(3, sum by (b) (a)))",
    'x_bucket{le="0.01"}',
    "sum by (d) (sum by (b) (a) * on (b) group_right() topk by (b) (1, c))",
    "days_in_month(max by (b) (a) - 43200) - day_of_month(max by (b) (a) - 43200)",
)


@pytest.mark.parametrize("query", REFUSED)
def test_a_query_beyond_the_limits_is_refused(query: str) -> None:
    with pytest.raises((promql.LimitError, ValueError)) as refused:
        promql.check(query)
    if REFUSED[query]:
        assert str(refused.value) == REFUSED[query]


@pytest.mark.parametrize("query", TAKEN)
def test_a_query_within_the_limits_is_taken(query: str) -> None:
    promql.check(query)


def test_the_metrics_that_a_query_asks_for_are_known() -> None:
    assert promql.metrics('sum by (b) (rate(a{d="e"}[5m])) / max by (b) (c)') == ["a", "c"]
