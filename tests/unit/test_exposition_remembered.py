"""What is remembered while an exposition is read is bounded; beyond it the same is read."""

from __future__ import annotations

from types import ModuleType

import pytest

from relay_metrics.convert import exposition as convert
from relay_metrics.relays.prometheus import exposition, families
from relay_metrics.relays.prometheus.exposition import Bounds, NoExposition, read
from tests import RECORDED_EXPOSITION
from tests.unit.expositions import TEXT, delivered

HISTOGRAM = """\
# TYPE {name} histogram
{name}_bucket{{a="{at}",le="{bound}"}} 1
{name}_bucket{{a="{at}",le="+Inf"}} 2
{name}_sum{{a="{at}"}} 3
{name}_count{{a="{at}"}} 2
"""
EXPOSITION = "".join(
    [
        RECORDED_EXPOSITION.read_text("utf-8"),
        # names that take turns, with labels of other names and other values each
        *(f'a{{n="{at}"}} 1\nb{{n{at}="{at}"}} 2\ngo_{at} 3\n' for at in range(40)),
        *(f'c{{n="{at % 5}",m="{at}"}} 1\nd{{m="{at}",n="{at % 5}"}} 2\n' for at in range(40)),
        *(HISTOGRAM.format(name=f"h{at % 30}", at=at, bound=at) for at in range(30)),
        *(f'e{{o="{at}"}} 1\n' for at in range(40)),
    ]
)


@pytest.mark.parametrize(
    ("module", "bound"),
    [
        *((exposition, f"_MOST_{name}") for name in ("KNOWN", "EVEN", "ALIKE_BYTES", "MISSES")),
        (exposition, "_MOST_SIGNS"),
        *((families, f"_MOST_{name}") for name in ("FORMS", "EVEN")),
        (convert, "_MOST_KNOWN"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_beyond_a_bound_the_same_is_read(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, bound: str
) -> None:
    whole = delivered(EXPOSITION, exclude=["go_?"])
    monkeypatch.setattr(module, bound, 2)
    assert delivered(EXPOSITION, exclude=["go_?"]) == whole


def test_texts_of_a_sample_each_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = delivered(EXPOSITION)
    monkeypatch.setattr(exposition, "_MOST_CHUNKS", 4)
    assert delivered(EXPOSITION) == whole
    column = read(EXPOSITION.encode(), TEXT, ()).columns["a"]
    assert len(column.text) <= 4
    assert len(column) == 40


def test_lines_that_are_read_by_themselves_beyond_the_bound_are_counted() -> None:
    odd = "".join(f'a {{ n = "{at}" }} 1\n' for at in range(5))
    parsed = read(odd.encode(), TEXT, (), Bounds(compounds=3))
    assert (len(parsed.columns["a"]), parsed.left_out) == (3, {"too_many_samples": 2})


def test_a_line_without_a_name_is_malformed_whatever_is_excluded() -> None:
    with pytest.raises(NoExposition, match="line 1 is malformed"):
        read(b"{\na 1\n", TEXT, ["go_*"])


@pytest.mark.parametrize("exclude", [[], ["go_*"]])
def test_of_names_beyond_the_bound_neither_type_nor_help_is_kept(exclude: list[str]) -> None:
    told_of = "".join(f"# HELP {name} x\n# TYPE {name} gauge\n" for name in ("a", "go_b", "c"))
    parsed = read(f'{told_of}a 1\nc {{ n = "1" }} 2\n'.encode(), TEXT, exclude, Bounds(1))
    assert (parsed.types, parsed.helps) == ({"a": "gauge"}, {"a": "x"})
    assert (list(parsed.columns), parsed.left_out) == (["a"], {"too_many_families": 1})
