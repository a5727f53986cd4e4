"""PromQL, parsed as GreptimeDB parses it and held to what GreptimeDB can.

The rules are those that its documentation and its open issues describe of releases up to 1.3: what
breaks them is refused there with a 400 or a 500, or answered otherwise than Prometheus would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import promql_parser
from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

AGGREGATORS: Final = frozenset({"sum", "min", "max", "avg", "count", "topk", "bottomk"})
FUNCTIONS: Final = frozenset(
    {
        *("rate", "increase", "changes", "histogram_quantile", "sort", "sort_desc", "time"),
        *("day_of_month", "days_in_month"),
        *(f"{what}_over_time" for what in ("last", "sum", "min", "max", "avg", "count")),
    }
)
"""What its compatibility list names, as far as it is needed here."""

Labels = frozenset[str] | None
"""Of an expression's series; None for those of a bare selector, which nobody can name."""


class LimitError(Exception):
    """A query that GreptimeDB would refuse or misread."""


def check(query: str) -> Expr:
    """The query, parsed.

    Raises:
        ValueError: it is no PromQL.
        LimitError: GreptimeDB would refuse or misread it.
    """
    expr = promql_parser.parse(query)
    _labels(expr)
    return expr


def metrics(query: str) -> list[str]:
    """The names of the metrics that it asks for, in order."""
    selectors = _walk(promql_parser.parse(query))
    return [one.name for one in selectors if isinstance(one, VectorSelector) and one.name]


def _labels(expr: Expr) -> Labels:
    """The labels of what an expression gives; of a scalar, too, the empty set."""
    match expr:
        case NumberLiteral() | StringLiteral():
            return frozenset()
        case ParenExpr() | UnaryExpr():
            return _labels(expr.expr)
        case VectorSelector():
            return _of_selector(expr)
        case MatrixSelector():
            return _of_selector(expr.vector_selector)
        case Call():
            return _of_call(expr)
        case AggregateExpr():
            return _of_aggregate(expr)
        case BinaryExpr():
            return _of_binary(expr)
        case SubqueryExpr():
            raise LimitError("a subquery, which it has learned only lately")
        case _:
            raise LimitError(f"an expression of another kind: {type(expr).__name__}")


def _of_selector(selector: VectorSelector) -> Labels:
    if selector.at is not None:
        raise LimitError("the @ modifier")
    if not selector.name:
        raise LimitError("a selector without a metric")
    for matcher in selector.matchers.matchers:
        if matcher.value == "":
            raise LimitError(f'{{{matcher.name}=""}}')
        if matcher.name == "__name__":
            raise LimitError("a matcher of __name__")
        if matcher.name == "le" and not math.isfinite(float(matcher.value)):
            raise LimitError("the last bucket, which has another name there: use _count")
    return None


def _of_call(call: Call) -> Labels:
    if call.func.name not in FUNCTIONS:
        raise LimitError(f"the function {call.func.name}")
    inner = [_labels(argument) for argument in call.args]
    if not inner:
        return frozenset()
    labels = inner[-1]
    return labels - {"le"} if labels and call.func.name == "histogram_quantile" else labels


def _of_aggregate(aggregate: AggregateExpr) -> Labels:
    if str(aggregate.op) not in AGGREGATORS:
        raise LimitError(f"the aggregation {aggregate.op}")
    if any(isinstance(one, Call) and one.func.name == "time" for one in _walk(aggregate.expr)):
        raise LimitError("an aggregation over time()")
    inner = _labels(aggregate.expr)
    if str(aggregate.op) in ("topk", "bottomk"):
        return inner
    modifier = aggregate.modifier
    if modifier is None:
        return frozenset()
    if modifier.type != promql_parser.AggModifierType.By:
        raise LimitError("`without`: the other side of an operator cannot be compared with it")
    labels = frozenset(modifier.labels)
    if inner is not None and not labels <= inner:
        raise LimitError(f"labels that are gone by then: {sorted(labels - inner)}")
    return labels


def _of_binary(binary: BinaryExpr) -> Labels:
    left, right = _labels(binary.lhs), _labels(binary.rhs)
    modifier = binary.modifier
    if modifier is not None and (modifier.matching or modifier.group_labels):
        if _joins(binary, left):
            return right
        raise LimitError("on, ignoring or group_left")
    if _is_scalar(binary.lhs):
        return right
    if _is_scalar(binary.rhs):
        return left
    if left is None or right is None or left != right:
        raise LimitError(f"an operator between other labels: {left} and {right}")
    return left


def _joins(binary: BinaryExpr, left: Labels) -> bool:
    """Whether it gives figures the labels of another metric, one series of which each has.

    The left side has the labels that are joined by and no others, and the right is the one series
    that `topk by` those takes of each. What comes of it has the right side's labels, which in
    GreptimeDB it always has.
    """
    modifier, right = binary.modifier, binary.rhs
    assert modifier is not None
    matching = modifier.matching
    return (
        str(binary.op) == "*"
        and matching is not None
        and matching.type == promql_parser.LabelModifierType.Include
        and modifier.card == promql_parser.VectorMatchCardinality.OneToMany
        and not modifier.group_labels
        and left == frozenset(matching.labels)
        and isinstance(right, AggregateExpr)
        and str(right.op) == "topk"
        and isinstance(right.param, NumberLiteral)
        and right.param.val == 1
        and right.modifier is not None
        and right.modifier.type == promql_parser.AggModifierType.By
        and frozenset(right.modifier.labels) == left
    )


def _is_scalar(expr: Expr) -> bool:
    match expr:
        case NumberLiteral():
            return True
        case ParenExpr() | UnaryExpr():
            return _is_scalar(expr.expr)
        case Call():
            return bool(expr.func.name == "time")
        case BinaryExpr():
            return _is_scalar(expr.lhs) and _is_scalar(expr.rhs)
        case _:
            return False


def _walk(expr: Expr) -> Iterator[Expr]:
    yield expr
    match expr:
        case ParenExpr() | UnaryExpr() | AggregateExpr():
            yield from _walk(expr.expr)
        case BinaryExpr():
            yield from _walk(expr.lhs)
            yield from _walk(expr.rhs)
        case Call():
            for argument in expr.args:
                yield from _walk(argument)
        case MatrixSelector():
            yield expr.vector_selector
        case _:
            pass
