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

from proa.sim import charts
from proa.sim.charts import Series, lines
from proa.sim.large import Outcome
from proa.sim.measured import SERIES

_ROWS = 1000  # of the packing; more hosts than that are thinned out
_COUNTS = ("wanted", "running", "ready", "pending", "failed", "restarts")
_SHARES = ("cpu_reserved", "memory_reserved", "cpu_used", "memory_used")


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
        lines("Pods and tasks", [_series(rows, name) for name in _COUNTS]),
        lines(
            "Shares of all hosts: reserved and used",
            [_series(rows, name, 100.0) for name in _SHARES],
            "%",
        ),
        f"<h2>Packing: {len(outcome.hosts):,} hosts over time</h2>",
        _packing(outcome.packing),
        "<h2>Figures</h2>",
        _figures(outcome),
    ]
    return charts.page(title, "".join(parts))


def _series(rows: Sequence[Sequence[float]], name: str, factor: float = 1.0) -> Series:
    column = SERIES.index(name)
    return Series(name.replace("_", " "), [(row[0], row[column] * factor) for row in rows])


def _packing(packing: Sequence[tuple[float, bytes]]) -> str:
    if not packing:
        return "<p>The run was too short to look.</p>"
    step = max(1, -(-max(len(shares) for _, shares in packing) // _ROWS))
    columns = [sorted(shares[::step], reverse=True) for _, shares in packing]
    height = max(len(column) for column in columns)
    pixels = []
    for row in range(height):
        line = b"".join(_colour(column[row] if row < len(column) else 0) for column in columns)
        pixels.append(b"\x00" + line)
    image = base64.b64encode(_png(len(columns), height, b"".join(pixels))).decode()
    return (
        '<img alt="packing" width="100%" height="300" style="image-rendering:pixelated" '
        f'src="data:image/png;base64,{image}">'
        "<p>Each column is an instant, each row a host, the fullest above; from white "
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
