"""Pictures of dashboards as SVG, drawn by us from what their queries returned: Grafana, which would draw them, does not run here."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    Lines = Sequence[Mapping[str, Any]]
    Results = Mapping[str, Sequence[Lines]]

NOTE = (
    "Drawn by this repository's tests from what a running Prometheus returned. It is no picture of Grafana."
)
COLUMN, ROW, HEAD = 48, 22, 44
GOOD, BAD, PLAIN = "#2f7d32", "#c62828", "#1f4e79"
COLOURS = ("#1f77b4", "#e07b00", "#2ca02c", "#9467bd", "#8c564b", "#17a2b8", "#d81b7a", "#7f7f7f")
# Units of Grafana: what is written behind a number, and by what it is multiplied.
UNITS = {
    "s": ("s", 1.0),
    "percentunit": ("%", 100.0),
    "reqps": ("/s", 1.0),
    "ops": ("/s", 1.0),
    "eps": ("/s", 1.0),
    "bytes": ("MiB", 2.0**-20),
    "binBps": ("KiB/s", 2.0**-10),
    "d": ("days", 1.0),
}
MOST_LEGENDS, MOST_LINES = 5, 12
# A line is not drawn over a time without values.
GAP_SECONDS = 45


def draw(board: Mapping[str, Any], results: Results, file: Path) -> Path:
    """Draw a dashboard's panels at their places, from the lines of each of their queries by title."""
    every = [line for lines in results.values() for part in lines for line in part]
    moments = [float(at) for line in every for at, _ in line["values"]]
    window = (min(moments), max(moments))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    width, height = 24 * COLUMN, HEAD + rows * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(10, 20, board["title"], 16, weight="bold"),
        _text(10, 36, f"{NOTE} {_clock(window[0])} to {_clock(window[1])} UTC.", 10, colour="#555555"),
    ]
    for panel in board["panels"]:
        place = panel["gridPos"]
        box = (
            place["x"] * COLUMN,
            HEAD + place["y"] * ROW,
            place["w"] * COLUMN,
            place["h"] * ROW,
        )
        if panel["type"] == "row":
            parts.append(_text(box[0] + 10, box[1] + 16, panel["title"], 12, weight="bold"))
            continue
        parts.append(
            f'<rect x="{box[0] + 3}" y="{box[1] + 3}" width="{box[2] - 6}" height="{box[3] - 6}" fill="none" stroke="#d5d5d5"/>'
        )
        draw_panel = _number if panel["type"] == "stat" else _graph
        parts += draw_panel(panel, results[panel["title"]], box, window)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")
    return file


def _text(
    x: float, y: float, text: str, size: float, *, colour: str = "#222222", weight: str = "", anchor: str = ""
) -> str:
    more = (f' font-weight="{weight}"' if weight else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{more}>{escape(text)}</text>'


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))


def _unit(panel: Mapping[str, Any]) -> tuple[str, float]:
    return UNITS.get(panel["fieldConfig"]["defaults"].get("unit", ""), ("", 1.0))


def _limits(panel: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ()))


def _points(line: Mapping[str, Any], factor: float = 1.0) -> list[tuple[float, float]]:
    numbers = [(float(at), float(value) * factor) for at, value in line["values"]]
    return [(at, value) for at, value in numbers if math.isfinite(value)]


def _number(
    panel: Mapping[str, Any],
    results: Sequence[Lines],
    box: tuple[int, int, int, int],
    _window: tuple[float, float],
) -> Iterator[str]:
    word, factor = _unit(panel)
    latest = [points[-1][1] for lines in results for line in lines if (points := _points(line))]
    said = f"{latest[-1] * factor:,.4g} {word}".strip() if latest else "none"
    passed = [
        step["color"] for step in _limits(panel) if latest and latest[-1] >= (step["value"] or -math.inf)
    ]
    colour = {"green": GOOD, "red": BAD}[passed[-1]] if len(_limits(panel)) > 1 and passed else PLAIN
    yield _text(box[0] + 10, box[1] + 18, panel["title"], 11)
    yield _text(box[0] + box[2] / 2, box[1] + box[3] - 22, said, 24, colour=colour, anchor="middle")


def _graph(
    panel: Mapping[str, Any],
    results: Sequence[Lines],
    box: tuple[int, int, int, int],
    window: tuple[float, float],
) -> Iterator[str]:
    word, factor = _unit(panel)
    found = [
        (_legend(target["legendFormat"], line["metric"]), points)
        for target, lines in zip(panel["targets"], results, strict=True)
        for line in lines
        if (points := _points(line, factor))
    ]
    limits = [float(step["value"]) * factor for step in _limits(panel) if step["value"]]
    highest = max([value for _, points in found for _, value in points], default=0.0)
    # A threshold far above what was measured would flatten every line.
    limits = [limit for limit in limits if limit <= 3 * highest]
    top = 1.08 * max([highest, *limits]) or 1.0
    left, right, upper, lower = box[0] + 52, box[0] + box[2] - 12, box[1] + 28, box[1] + box[3] - 20
    legends = min(len(found), MOST_LEGENDS)
    upper += 12 * ((legends + 1) // 2)

    def place(at: float, value: float) -> str:
        x = left + (at - window[0]) / max(window[1] - window[0], 1.0) * (right - left)
        return f"{x:.0f},{lower - value / top * (lower - upper):.1f}"

    yield _text(box[0] + 10, box[1] + 18, f"{panel['title']} ({word})" if word else panel["title"], 11)
    for share in (0.0, 0.5, 1.0):
        y = lower - share * (lower - upper)
        yield f'<path d="M{left} {y:.1f}H{right}" stroke="#e2e2e2" fill="none"/>'
        yield _text(left - 4, y + 3, f"{share * top:.3g}", 9, colour="#666666", anchor="end")
    for moment, anchor in ((window[0], "start"), (window[1], "end")):
        edge = left if anchor == "start" else right
        yield _text(edge, lower + 12, _clock(moment)[-5:], 9, colour="#666666", anchor=anchor)
    if not found:
        yield _text(
            (left + right) / 2, (upper + lower) / 2, "no series", 11, colour="#888888", anchor="middle"
        )
    for number, (legend, points) in enumerate(found[:MOST_LINES]):
        colour = COLOURS[number % len(COLOURS)]
        path = "".join(
            f"{'L' if index and at - points[index - 1][0] <= GAP_SECONDS else 'M'}{place(at, value)}"
            for index, (at, value) in enumerate(points)
        )
        yield f'<path d="{path}" stroke="{colour}" stroke-width="1.3" stroke-linecap="round" fill="none"/>'
        if number < legends:
            x, y = left + number % 2 * (right - left) / 2, box[1] + 32 + 12 * (number // 2)
            yield _text(x, y, legend, 9, colour=colour)
    for limit in limits:
        y = lower - limit / top * (lower - upper)
        yield f'<path d="M{left} {y:.1f}H{right}" stroke="{BAD}" stroke-dasharray="5 4" fill="none"/>'
    if len(found) > legends:
        yield _text(right, box[1] + 18, f"{len(found)} lines", 9, colour="#666666", anchor="end")


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    for name, value in labels.items():
        pattern = pattern.replace("{{" + name + "}}", value)
    return pattern if len(pattern) <= 34 else f"{pattern[:33]}…"
