"""Panels as all three dashboards have them: a unit, a description, and a word where nothing is.

What a description says of a metric, and its unit, come from the catalogue. Those of figures over
time say in their legend what each was last, at most and on average.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import (
    BarAlignment,
    BarGaugeDisplayMode,
    BarGaugeValueMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from relay_metrics.catalogue import METRICS, Metric
from relay_metrics.snapshot import Scope

ANY: Final = ".+"
TAG: Final = "relay-metrics"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
SCHEDULE: Final = "1m"
"""How often the collector runs: `$__rate_interval` is made of it."""
A_DAY: Final = "1d"
DAYS_SHOWN: Final = "30d"
OF_THE_DAY: Final = "[1d] offset -86399s"
"""The range of a day's figures at the midnight that the day begins with, so that its bar stands
over the day: the minute that begins with the day is in it, that of the next one is not. At a step
of a day Grafana asks for midnights of the viewer's calendar; a figure of a day is stamped with its
noon."""
OF_THE_HOUR: Final = "[1h] offset 2m"
"""Sixty complete and delivered minutes; the timestamp of a minute is its start."""
LEGEND_CALCULATIONS: Final = ("lastNotNull", "max", "mean")

USD_AN_HOUR: Final = "USD/h"
TOKENS_A_MINUTE: Final = "tokens/min"
REQUESTS_A_MINUTE: Final = "requests/min"

UNITS: Final = {"{USD}": "currencyUSD", "{percent}": "percent", "s": "s", "min": "m"}
"""Grafana's names of the catalogue's units; all others are counts."""
AXES: Final = {"currencyUSD": "USD", "percentunit": "share"}
"""The label of the axis for a unit."""

_CATALOGUE: Final = {metric.name: metric for metric in METRICS}
_NAME: Final = re.compile(r"\brelay_[a-z0-9_]+")
_OF_WYOLET: Final = 'relay_kind="wyolet-relay"'

Steps = Sequence[tuple[float, str]]
"""From which value on which colour; below the first it is green."""

FlagWords = tuple[str, str]
"""The names of 0 and 1; the good state is second."""

OF_LIMIT: Final[Steps] = ((0.8, "orange"), (0.95, "red"))
OF_PERCENT: Final[Steps] = ((80, "orange"), (95, "red"))


@dataclass(frozen=True)
class Query:
    """A PromQL query and what its series are called."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True)
class Column:
    """A column of a table: a query of which each series is a row's cell."""

    heading: str
    expr: str
    unit: str = ""
    steps: Steps = ()
    decimals: int | None = None
    flag: FlagWords | None = None


Visual = TypeVar("Visual", stat.Panel, timeseries.Panel, bargauge.Panel, table.Panel)
AnyPanel = stat.Panel | timeseries.Panel | bargauge.Panel | table.Panel
AnyVariable = dashboard.QueryVariable | dashboard.CustomVariable | dashboard.TextBoxVariable


def single(  # noqa: PLR0913 - what panels differ in, all of it by name
    title: str,
    says: str,
    expr: str,
    *,
    unit: str = "",
    empty: str,
    steps: Steps = (),
    decimals: int | None = None,
    width: int = 6,
    legend: str = "__auto",
    flag: FlagWords | None = None,
    since: str = "",
    shifted: str = "",
) -> stat.Panel:
    """One figure, or one a series, as of now; a flag in its words for 0 and 1.

    Args:
        since: the panel's own time, in place of the dashboard's, as Grafana writes it.
        shifted: how far back of that.
    """
    coloured = BigValueColorMode.VALUE if steps or flag else BigValueColorMode.NONE
    panel = (
        stat.Panel()
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(coloured)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    _with(panel, title, says, [Query(expr, legend)], unit, empty, steps, instant=True)
    if decimals is not None:
        panel.decimals(decimals)
    if flag:
        panel.mappings([_words(flag)])
    if since:
        panel.time_from(since)
    if shifted:
        panel.time_shift(shifted)
    return panel.span(width).height(4)


def over_time(  # noqa: PLR0913 - as above
    title: str,
    says: str,
    queries: Iterable[Query],
    *,
    unit: str = "",
    rate: str = "",
    empty: str,
    steps: Steps = (),
    stacked: bool = False,
    bars: bool = False,
    most: float | None = None,
    decimals: int | None = None,
    width: int = 12,
) -> timeseries.Panel:
    """Lines over the chosen time, or bars; `steps` are drawn as dashed lines.

    Args:
        rate: what of something in which time, `USD/h` say, in place of a unit.
    """
    queries = list(queries)
    unit = f"count:{rate}" if rate else unit or _unit_of(_joined(queries))
    panel = (
        timeseries.Panel()
        .draw_style(GraphDrawStyle.BARS if bars else GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(60 if bars else 25 if stacked else 8)
        .axis_soft_min(0)
        .axis_label(rate or AXES.get(unit, ""))
        .legend(_legend(*LEGEND_CALCULATIONS))
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if most is not None:
        panel.max(most)
    if steps:
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    if decimals is not None:
        panel.decimals(decimals)
    _with(panel, title, says, queries, unit, empty, steps, instant=False)
    return panel.span(width).height(10)


def by_day(title: str, says: str, query: Query, *, empty: str, width: int = 12) -> timeseries.Panel:
    """A stacked bar for each of the last 30 days, independent of the chosen time.

    Args:
        query: of a day's figures, with the range `OF_THE_DAY`.
    """
    panel = over_time(title, says, [query], empty=empty, stacked=True, bars=True, width=width)
    return (
        panel.bar_alignment(BarAlignment.AFTER)
        .interval(A_DAY)
        .time_from(DAYS_SHOWN)
        .legend(_legend(*LEGEND_CALCULATIONS, "sum"))
    )


def ranking(  # noqa: PLR0913 - as above
    title: str,
    says: str,
    query: Query,
    *,
    unit: str = "",
    empty: str,
    steps: Steps = (),
    most: float | None = None,
    decimals: int | None = None,
    since: str = "",
    width: int = 12,
) -> bargauge.Panel:
    """A bar a series as of now, the longest first."""
    panel = (
        bargauge.Panel()
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .value_mode(BarGaugeValueMode.TEXT)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .min(0)
    )
    if most is not None:
        panel.max(most)
    if decimals is not None:
        panel.decimals(decimals)
    if since:
        panel.time_from(since)
    queries = [Query(f"sort_desc({query.expr})", query.legend)]
    _with(panel, title, says, queries, unit, empty, steps, instant=True)
    return panel.span(width).height(10)


def grid(
    title: str,
    says: str,
    labels: dict[str, str],
    columns: Sequence[Column],
    *,
    empty: str,
    width: int = 24,
) -> table.Panel:
    """A table as of now, with a row for each set of labels.

    Args:
        labels: the heading of each label; one without a heading is not shown.
    """
    panel = table.Panel().filterable(True)
    letters = dict(zip(ascii_uppercase, columns, strict=False))
    queries = [Query(column.expr, "") for column in columns]
    _with(panel, title, says, queries, "none", empty, (), instant=True)
    hidden = ["Time", *(label for label, heading in labels.items() if not heading)]
    names = {label: heading for label, heading in labels.items() if heading}
    names |= {f"Value #{letter}": column.heading for letter, column in letters.items()}
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(hidden, True),
                "indexByName": {name: place for place, name in enumerate(names)},
                "renameByName": names,
            },
        )
    )
    for column in columns:
        settings = [DynamicConfigValue("unit", column.unit or _unit_of(column.expr))]
        if column.decimals is not None:
            settings.append(DynamicConfigValue("decimals", column.decimals))
        if column.flag:
            settings.append(DynamicConfigValue("mappings", [_words(column.flag)]))
        if column.steps or column.flag:
            settings.append(DynamicConfigValue("thresholds", _thresholds(column.steps).build()))
            settings.append(
                DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            )
        panel.override_by_name(column.heading, settings)
    return panel.span(width).height(8)


def choice(
    name: str, label: str, query: str, *, regex: str = "", says: str = ""
) -> dashboard.QueryVariable:
    """A variable whose values a query finds: several of them, or all."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ANY)
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )
    if regex:
        variable.regex(regex)
    if says:
        variable.description(says)
    return variable


def chosen_once(name: str, query: str, label: str) -> dashboard.QueryVariable:
    """A hidden variable: the values of a label that the series of a query have.

    A panel that filters by it shows the same series over all of the chosen time, where `topk` in
    the panel would choose anew at each step.

    Args:
        query: asked once for the chosen time, which is `$__range`.
    """
    return (
        dashboard.QueryVariable(name)
        .datasource(SOURCE)
        .query({"query": f"query_result({query})", "refId": name})
        .regex(f'/\\b{label}="([^"]+)"/')
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .hide(VariableHide.HIDE_VARIABLE)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def text(name: str, label: str, value: str, says: str) -> dashboard.TextBoxVariable:
    """A variable that the viewer writes."""
    option = VariableOption(selected=True, text=value, value=value)
    return (
        dashboard.TextBoxVariable(name)
        .label(label)
        .description(says)
        .default_value(value)
        .current(option)
        .options([option])
    )


def one_of(name: str, label: str, values: Sequence[str], says: str) -> dashboard.CustomVariable:
    """A variable with fixed values, the first of them to begin with."""
    options = [VariableOption(value == values[0], value, value) for value in values]
    return (
        dashboard.CustomVariable(name)
        .label(label)
        .description(says)
        .values(",".join(values))
        .options(options)
        .current(options[0])
    )


def board(
    title: str,
    uid: str,
    says: str,
    variables: Iterable[AnyVariable],
    rows: Iterable[tuple[str, Iterable[AnyPanel]]],
) -> dashboard.Dashboard:
    """A dashboard of titled rows, with links to the others."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(says)
        .tags([TAG])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("relay-metrics")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
    )
    for variable in variables:
        built.with_variable(variable)
    for heading, panels in rows:
        built.with_row(dashboard.Row(heading))
        for panel in panels:
            built.with_panel(panel)
    return built


def _legend(*calculations: str) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(list(calculations))
    )


def _with(
    panel: Visual,
    title: str,
    says: str,
    queries: Iterable[Query],
    unit: str,
    empty: str,
    steps: Steps,
    *,
    instant: bool,
) -> None:
    queries = list(queries)
    exprs = _joined(queries)
    panel.title(title).description(_described(says, exprs)).datasource(SOURCE)
    panel.unit(unit or _unit_of(exprs)).no_value(empty)
    panel.thresholds(_thresholds(steps))
    if steps:
        panel.color_scheme(
            dashboard.FieldColor().mode(
                FieldColorModeId.THRESHOLDS if instant else FieldColorModeId.PALETTE_CLASSIC
            )
        )
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = (
            prometheus.Dataquery()
            .datasource(SOURCE)
            .expr(query.expr)
            .legend_format(query.legend)
            .interval(SCHEDULE)
            .ref_id(letter)
        )
        if not instant:
            target.range()
        elif isinstance(panel, table.Panel):
            target.instant().format(PromQueryFormat.TABLE)
        else:
            target.instant()
        panel.with_target(target)


def _joined(queries: Iterable[Query]) -> str:
    return " ".join(query.expr for query in queries)


def _rows(exprs: str) -> list[Metric]:
    """The catalogue's rows of the metrics in some queries, in their order.

    A Wyolet Relay's own metrics have none, although a claude-relay's keys have some of their names.
    """
    rows = [_CATALOGUE[name] for name in dict.fromkeys(_NAME.findall(exprs)) if name in _CATALOGUE]
    return [row for row in rows if row.scope is not Scope.KEY or _OF_WYOLET not in exprs]


def _described(says: str, exprs: str) -> str:
    """The description of a panel, and the descriptions of its metrics in the catalogue."""
    lines = [f"- `{row.name}`: {row.description} ({row.fresh})" for row in _rows(exprs)]
    return "\n\n".join([says, "\n".join(lines)] if lines else [says])


def _unit_of(exprs: str) -> str:
    """Grafana's unit of the first metric of the catalogue in a query."""
    first = next(iter(_rows(exprs)), None)
    return "short" if first is None else UNITS.get(first.unit, "short")


def _words(flag: FlagWords) -> ValueMap:
    bad, good = flag
    return ValueMap(
        options={
            "0": ValueMappingResult(text=bad, color="red", index=0),
            "1": ValueMappingResult(text=good, color="green", index=1),
        }
    )


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    listed: list[Any] = [Threshold(value=None, color="green")]
    listed += [Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(listed)
