"""The parts of dashboards: variables, panels with what every panel must have, and parts of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grafana_foundation_sdk.builders.dashboard import Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, BAD = "green", "red"

BRIDGE = 'namespace="$namespace",pod=~"$release-bridge-.+"'
AGENTS = 'namespace="$namespace-agents",pod=~"$release-agents-.+"'
DRIVER = 'namespace="$namespace-fuse-csi",pod=~"$release-fuse-csi-.+"'
POSTGRES = 'namespace="$namespace",pod=~"$release-postgres-[0-9]+"'
REDIS = 'namespace="$namespace",pod=~"$release-redis-.+"'
NAMESPACES = "$namespace(-agents|-fuse-csi)?"
OURS = f'namespace=~"{NAMESPACES}",pod=~"$release-(bridge|agents|fuse-csi|postgres|redis)-.+"'
RECORDED = 'namespace="$namespace"'
"""Selectors of a component's series, and of what is recorded of them: what stands between the braces."""

INTERVALS = {
    BRIDGE: "monitoring.interval",
    AGENTS: "monitoring.interval",
    DRIVER: "monitoring.interval",
    POSTGRES: "postgres.podMonitor.interval",
    REDIS: "redis.monitoring.interval",
}
"""How often the chart has a component read, by the paths of its values; others read the rest."""


@dataclass(frozen=True)
class Limit:
    """A threshold of the chart, by the path of its value; `over` tells whether it is wrong to be above it."""

    value: str
    over: bool = True

    @property
    def word(self) -> str:
        """What stands for the number until the chart is rendered."""
        return f"@{self.value}@"


def over(name: str) -> Limit:
    """The threshold of an alert that fires above it."""
    return Limit(f"monitoring.thresholds.{name}")


def under(name: str) -> Limit:
    """The threshold of an alert that fires below it."""
    return Limit(f"monitoring.thresholds.{name}", over=False)


def of_redis(name: str, *, is_over: bool = True) -> Limit:
    """A threshold of the alerts that come with Redis."""
    return Limit(f"redis.monitoring.thresholds.{name}", over=is_over)


def rate(series: str, selector: str, *, by: str = "") -> str:
    """How fast a counter grows, in all or by labels."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({series}{{{selector}}}[$__rate_interval]))"


def part(series: str, matcher: str, selector: str, *, by: str = "") -> str:
    """The share of a counter's growth that a further matcher selects; nothing while there is no growth."""
    every = rate(series, selector, by=by)
    return f"({rate(series, f'{selector},{matcher}', by=by)} or 0 * {every}) / ({every} > 0)"


def quantile(share: float, histogram: str, selector: str, *, by: str = "") -> str:
    """The time within which a share of what a histogram counts was done."""
    grouped = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({grouped}) (rate({histogram}_bucket{{{selector}}}[$__rate_interval])))"


def most(query: str, *, by: str) -> str:
    """The ten highest lines of a query, by a label; `topk` alone chooses anew at each moment, and shows many more."""
    return f"{query} and on ({by}) topk(10, {query.replace('[$__rate_interval]', '[$__range] @ end()')})"


def graph(
    title: str,
    description: str,
    unit: str,
    queries: Mapping[str, str],
    *,
    limit: Limit | None = None,
    span: int = 8,
    top: float | None = None,
) -> timeseries.Panel:
    """Lines over time: queries by their legends, the chart's threshold as a dashed line, `top` as the scale's end."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(8)
        .span(span)
        .min(0)
        .fill_opacity(8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if top is not None:
        panel.max(top)
    if limit:
        panel.thresholds(_thresholds(limit)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    for query in _queries(queries):
        panel.with_target(query.range())
    return panel


def number(
    title: str, description: str, unit: str, query: str, *, limit: Limit | None = None, span: int = 4
) -> stat.Panel:
    """What is now, large; coloured where the chart has a threshold.

    Asked for one moment: of a range it would be the last value that was, long after what told it has gone.
    Grafana colours from the mark on, so a count that may not be above none cannot be coloured so.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .span(span)
        .no_value("none")
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE if limit else BigValueColorMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    )
    if limit:
        panel.thresholds(_thresholds(limit))
    for target in _queries({title: query}):
        panel.with_target(target.instant())
    return panel


def _thresholds(limit: Limit) -> ThresholdsConfig:
    below, above = (GOOD, BAD) if limit.over else (BAD, GOOD)
    # A word until the chart is rendered, which knows the value.
    mark = cast(float, limit.word)
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=None, color=below), Threshold(value=mark, color=above)])
    )


def _queries(queries: Mapping[str, str]) -> list[prometheus.Dataquery]:
    return [
        _query(query).ref_id(chr(ord("A") + index)).legend_format(legend)
        for index, (legend, query) in enumerate(queries.items())
    ]


def _query(query: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().datasource(SOURCE).expr(query)
    # Grafana makes `$__rate_interval` of this; the data source's own may be too short for two readings.
    for selector, path in INTERVALS.items():
        if selector in query and "$__rate_interval" in query:
            made.interval(f"@{path}@")
    return made


@dataclass(frozen=True)
class Found:
    """Where the variables come from: a series that each release has once a pod, and of which component it is."""

    series: str
    component: str = "bridge"
    suffix: str = ""
    """What the component's namespace has after that of the release."""
    pods: str = ".+"
    """What tells our pods from those of others which have the series too."""


BY_BRIDGE = Found("lighthouse_bridge_store_ready")


def dashboard(name: str, title: str, description: str, found: Found = BY_BRIDGE) -> Dashboard:
    """An empty dashboard with its variables and the links to the others."""
    every = f'{found.series}{{pod=~"{found.pods}"}}'
    pods = f'{found.series}{{namespace="$namespace{found.suffix}",pod=~"{found.pods}"}}'
    return (
        Dashboard(f"Lighthouse / {title}")
        .uid(f"lighthouse-{name}")
        .description(description)
        .tags(["lighthouse"])
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .timezone("browser")
        .link(
            DashboardLink("Lighthouse")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["lighthouse"])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            _listed("namespace", "Namespace", f"label_values({every}, namespace)").regex(
                f"/^(.+){found.suffix}$/"
            )
        )
        .with_variable(
            _listed("release", "Release", f"label_values({pods}, pod)").regex(
                f"/^(.+)-{found.component}-[0-9a-z-]+$/"
            )
        )
    )


def _listed(name: str, label: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def row(board: Dashboard, title: str, *panels: Panel | timeseries.Panel | stat.Panel) -> None:
    """Add a row with its panels."""
    board.with_row(Row(title))
    for panel in panels:
        board.with_panel(panel)
