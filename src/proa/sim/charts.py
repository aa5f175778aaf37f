"""Charts as inline SVG, for pages that must show without a network and without a script.

The pages of runs and of comparisons draw with them. A chart scales its own axes, has at most seven
series, names each one in a legend and gives its figures on hover. Colours are told apart by
colour-blind readers too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#777777")
WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 28
MAX_POINTS = 600
Points = Sequence[tuple[float, float]]


@dataclass(slots=True, frozen=True)
class Series:
    """A named line of (x, y) points, x ascending. A ``stepped`` one holds a value until the
    next."""

    name: str
    points: Points
    stepped: bool = False


def nice_ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 5 × a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= value)


def thinned(points: Points, most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most so many points: of each stretch the highest, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    size = len(points) / most
    stretches = (points[int(i * size) : int((i + 1) * size)] for i in range(most))
    return [max(stretch, key=lambda point: point[1]) for stretch in stretches if stretch]


def hours(x: float) -> str:
    """An axis label for seconds."""
    return f"{x / 3600:g} h"


def lines(
    title: str, series: Sequence[Series], unit: str = "", label_x: Callable[[float], str] = hours
) -> str:
    """A line chart with its title and legend, from zero up."""
    high = nice_ceiling(max((y for one in series for _, y in one.points), default=0.0))
    last = max((x for one in series for x, _ in one.points), default=0.0) or 1.0
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        return f"{LEFT + x / last * inner_w:.1f},{TOP + (1 - y / high) * inner_h:.1f}"

    parts = [*_grid(high, last, unit, label_x)]
    for colour, one in zip(COLOURS, series, strict=False):
        path = " ".join(place(x, y) for x, y in _drawn(one))
        name = escape(one.name)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2">'
            f"<title>{name}</title></polyline>"
        )
    return _figure(title, "".join(parts), [one.name for one in series])


def _drawn(series: Series) -> list[tuple[float, float]]:
    points = thinned(series.points)
    if not series.stepped:
        return points
    stepped = points[:1]
    for x, y in points[1:]:
        stepped += [(x, stepped[-1][1]), (x, y)]
    return stepped


def _grid(high: float, last: float, unit: str, label_x: Callable[[float], str]) -> list[str]:
    parts = []
    for step in range(5):
        share = step / 4
        y = TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{high * share:g}{unit}</text>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{escape(label_x(last * share))}</text>"
        )
    return parts


def bars(
    title: str, rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], unit: str = ""
) -> str:
    """A group of horizontal bars for each row, one bar a name."""
    high = nice_ceiling(max((value for _, values in rows for value in values), default=0.0))
    each, gap, left = 16, 14, 190
    height = sum(len(values) * each + gap for _, values in rows) + TOP
    parts, y = [], float(TOP)
    for label, values in rows:
        middle = y + len(values) * each / 2 + 4
        parts.append(
            f'<text x="{left - 8}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>'
        )
        for colour, name, value in zip(COLOURS, names, values, strict=False):
            width = value / high * (WIDTH - left - 90)
            parts.append(
                f'<rect x="{left}" y="{y:.1f}" width="{width:.1f}" height="{each - 3}" '
                f'fill="{colour}"><title>{escape(name)}: {value:g}{unit}</title></rect>'
                f'<text x="{left + width + 6:.1f}" y="{y + 11:.1f}">{value:g}{unit}</text>'
            )
            y += each
        y += gap
    return _figure(title, "".join(parts), names, height)


def _figure(title: str, inside: str, names: Sequence[str], height: float = HEIGHT) -> str:
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for colour, name in zip(COLOURS, names, strict=False)
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f'{inside}</svg><div class="legend">{legend}</div></figure>'
    )


STYLE = """
:root{color-scheme:light dark;--line:#8884}
body{font:15px/1.5 system-ui,sans-serif;max-width:820px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}
figure{margin:2rem 0}figcaption{font-weight:600;margin-bottom:.3rem}
svg{width:100%;height:auto}svg line{stroke:var(--line)}
svg text{font:11px system-ui,sans-serif;fill:currentColor}
.legend span{margin-right:1rem;white-space:nowrap;font-size:.85rem}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px}
small,li{opacity:.85}
"""


def page(title: str, body: str) -> str:
    """A whole HTML page around some figures."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><body>{body}</body></html>\n"
    )
