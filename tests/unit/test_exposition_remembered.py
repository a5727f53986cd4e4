"""What is remembered while an exposition is read is bounded; beyond it the same is read."""

from __future__ import annotations

from types import ModuleType

import pytest

from relay_metrics.convert import exposition as convert
from relay_metrics.relays.prometheus import exposition, families
from relay_metrics.relays.prometheus.exposition import Bounds, NoExposition, read
from relay_metrics.relays.prometheus.families import assemble
from tests import RECORDED_EXPOSITION
from tests.unit.expositions import TEXT, TIME_MS, delivered, left_out

HISTOGRAM = """\
# TYPE {name} histogram
{name}_bucket{{a="{at}",le="{bound}"}} 1
{name}_bucket{{a="{at}",le="+Inf"}} 2
{name}_sum{{a="{at}"}} 3
{name}_count{{a="{at}"}} 2
"""
MANY = range(300)
"""Lines of a family that are read together."""


def _lines(name: str, label: str) -> str:
    return "".join(f'{name}{{{label}="{at}"}} {at}\n' for at in MANY)


def _odd(at: int) -> str:
    return str(at) if at % 2 else "NaN"


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
LARGE = "".join(
    [
        # the same labels, others, and names in turns, with times and without
        *(f"# TYPE {name} gauge\n{_lines(name, 'n')}" for name in ("f", "g")),
        *(f"# TYPE {name} gauge\n{_lines(name, name)}" for name in ("i", "j", "k")),
        "# TYPE l gauge\n",
        *(
            f'l{{n="{at}"}} {at} {1_800_000_000_000 + at}\nm{{n="{at}"}} {_odd(at)}\n'
            for at in MANY
        ),
        # signs that begin no comment
        "# TYPE n gauge\n",
        *(f'n{{n="#{at}#"}} 1\n' for at in MANY),
    ]
)
"""Few comments, so that the lines between them are read together."""


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
    whole = [delivered(one, exclude=["go_?"]) for one in (EXPOSITION, LARGE)]
    monkeypatch.setattr(module, bound, 2)
    assert [delivered(one, exclude=["go_?"]) for one in (EXPOSITION, LARGE)] == whole


def test_names_in_turns_with_times_and_without() -> None:
    of_one = [f'Gauge l{{n="{at}"}} {at} at {TIME_MS + at}' for at in MANY[1:]]
    of_other = [f'Gauge m{{n="{at}"}} {at}' for at in MANY[1::2]]
    found = [line for line in delivered(LARGE) if line.startswith(("Gauge l", "Gauge m"))]
    assert found == sorted(['Gauge l{n="0"} 0', *of_one, *of_other])
    assert left_out(LARGE) == {"nan": len(MANY) / 2}


def test_bounds_of_many_histograms_that_all_differ() -> None:
    many = "".join(
        HISTOGRAM.format(name="p", at=at, bound=at).partition("\n")[2] for at in range(2100)
    )
    found = delivered(f"# TYPE p histogram\n{many}")
    assert len(found) == 2100
    for at in range(0, 2100, 100):
        assert delivered(HISTOGRAM.format(name="p", at=at, bound=at))[0] in found


def test_series_of_a_summary_beyond_the_bound_are_counted() -> None:
    summary = "# TYPE s summary\n" + "".join(f's_sum{{n="{at}"}} 1\n' for at in range(5))
    parsed = read(summary.encode(), TEXT, (), Bounds(compounds=3))
    (family,) = assemble(parsed, TIME_MS)
    assert (len(family.series), parsed.left_out) == (3, {"too_many_samples": 2})


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
