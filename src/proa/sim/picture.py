"""The picture of a run: one HTML page that needs nothing else, with drawings in SVG.

``proa sim run --report FILE`` writes it. Above, the timeline: what was wanted, ran and waited, and
what was reserved and used; below, how full every host was over time, a column an instant and a row
a host; then the figures.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

from proa.sim.large import Outcome
from proa.sim.measure import SERIES

WIDTH, HEIGHT, LEFT = 960, 220, 56
_ROWS = 1000  # of the packing; more hosts than that are thinned out
_LINES = (
    ("wanted", "#888888"), ("running", "#1f77b4"), ("ready", "#2ca02c"), ("pending", "#ff7f0e"),
)  # fmt: skip
_BARS = (("failed", "#d62728"), ("restarts", "#9467bd"))
_SHARES = (
    ("cpu_reserved", "#1f77b4"), ("memory_reserved", "#2ca02c"),
    ("cpu_used", "#9ecae1"), ("memory_used", "#a1d99b"),
)  # fmt: skip
_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:1060px;color:#222}"
    "h1{font-size:1.4em}h2{font-size:1.1em;margin-top:1.6em}td,th{padding:.15em .8em;"
    "text-align:right}th:first-child,td:first-child{text-align:left}img{image-rendering:pixelated;"
    "border:1px solid #ccc}.key span{margin-right:1.2em}@media(prefers-color-scheme:dark)"
    "{body{background:#181818;color:#ddd}text{fill:#ddd}}"
)


def page(outcome: Outcome) -> str:
    """The whole page."""
    rows = outcome.measures["series"]["rows"]
    title = f"{outcome.scenario}, seed {outcome.seed}"
    told = (
        f"{outcome.virtual_s / 3600:.2f} hours in {outcome.wall_s:.1f} s "
        f"({outcome.cpu_s:.1f} s of processor), {outcome.events:,} events, "
        f"trace {outcome.trace_sha256}"
    )
    problems = "".join(f"<li>{escape(item)}</li>" for item in outcome.problems)
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(told)}</p>",
        f"<h2>Problems</h2><ul>{problems}</ul>" if problems else "",
        "<h2>Pods and tasks</h2>",
        _chart(rows, _LINES, _BARS),
        "<h2>Shares of all hosts: reserved and used</h2>",
        _chart(rows, _SHARES, (), top=1.0),
        f"<h2>Packing: {len(outcome.hosts):,} hosts over time</h2>",
        _packing(outcome.packing),
        "<h2>Figures</h2>",
        _figures(outcome),
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _chart(
    rows: Sequence[Sequence[float]],
    lines: Sequence[tuple[str, str]],
    bars: Sequence[tuple[str, str]],
    top: float = 0.0,
) -> str:
    if not rows:
        return "<p>There was nothing to see.</p>"
    last = rows[-1][0] or 1.0
    columns = [SERIES.index(name) for name, _ in (*lines, *bars)]
    top = top or max(max(row[column] for column in columns) for row in rows) or 1.0

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT) * at / last

    def y(value: float) -> float:
        return HEIGHT - 20 - (HEIGHT - 30) * min(1.0, value / top)

    drawn = [_axes(last, top, x(last))]
    for name, colour in bars:
        column = SERIES.index(name)
        drawn += [
            f'<line x1="{x(row[0]):.1f}" x2="{x(row[0]):.1f}" y1="{y(0):.1f}" '
            f'y2="{y(row[column]):.1f}" stroke="{colour}"/>'
            for row in rows
            if row[column]
        ]
    for name, colour in lines:
        column = SERIES.index(name)
        points = " ".join(f"{x(row[0]):.1f},{y(row[column]):.1f}" for row in rows)
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    key = "".join(
        f'<span style="color:{colour}">■ {name.replace("_", " ")}</span>'
        for name, colour in (*lines, *bars)
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(drawn)}</svg><p class=key>{key}</p>'


def _axes(last: float, top: float, right: float) -> str:
    drawn = []
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - 20 - (HEIGHT - 30) * share
        text = f"{top * share:,.0f}" if top > 1 else f"{share:.0%}"
        drawn.append(
            f'<line x1="{LEFT}" x2="{right:.0f}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ccc"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.0f}" font-size="11" text-anchor="end">{text}</text>'
        )
    for part in range(7):
        at = last * part / 6
        x = LEFT + (WIDTH - LEFT) * part / 6
        drawn.append(
            f'<text x="{x:.0f}" y="{HEIGHT - 4}" font-size="11" text-anchor="middle">'
            f"{at / 3600:.3g} h</text>"
        )
    return "".join(drawn)


def _packing(packing: Sequence[tuple[float, bytes]]) -> str:
    if not packing:
        return "<p>The run was too short to look.</p>"
    step = max(1, -(-max(len(shares) for _, shares in packing) // _ROWS))
    columns = [sorted(shares[::step], reverse=True) for _, shares in packing]
    height = max(len(column) for column in columns)
    lines = []
    for row in range(height):
        pixels = b"".join(_colour(column[row] if row < len(column) else 0) for column in columns)
        lines.append(b"\x00" + pixels)
    image = base64.b64encode(_png(len(columns), height, b"".join(lines))).decode()
    return (
        f'<img alt="packing" width="{WIDTH}" height="300" src="data:image/png;base64,{image}">'
        "<p class=key>Each column is an instant, each row a host, the fullest above; from white "
        "(empty) to dark blue (full).</p>"
    )


def _colour(percent: int) -> bytes:
    """White for an empty host, dark blue for a full one, red for one that holds too much."""
    if percent > 100:
        return b"\xd6\x27\x28"
    share = percent / 100
    return bytes((round(247 - 239 * share), round(251 - 203 * share), round(255 - 148 * share)))


def _png(width: int, height: int, rows: bytes) -> bytes:
    """An image of 8 bits a channel (PNG specification, section 5)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def _figures(outcome: Outcome) -> str:
    measures = outcome.measures
    names = (
        "created", "started", "ended", "failed", "restarts", "running", "ready",
        "missing_replica_s", "unavailable_s",
    )  # fmt: skip
    plain = "".join(
        f"<tr><td>{name.replace('_', ' ')}</td><td>{measures[name]:,}</td></tr>" for name in names
    )
    spans = "".join(
        f"<tr><td>{name.replace('_', ' ')}</td>"
        + "".join(f"<td>{measures[name].get(rank, '')}</td>" for rank in ("p50", "p90", "p99"))
        + f"<td>{measures[name].get('max', '')}</td></tr>"
        for name in ("seconds_to_place", "seconds_to_running", "seconds_to_ready")
    )
    head = "<tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>max</th></tr>"
    return f"<table>{plain}</table><table>{head}{spans}</table>"
