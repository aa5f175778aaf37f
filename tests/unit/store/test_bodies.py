"""What the store keeps of a body in memory: as much as it is long."""

from __future__ import annotations

import tracemalloc

import orjson

from proa.store.api import trimmed


def held(count: int, trim: bool) -> float:
    """Bytes of memory that each of many stored bodies holds."""
    body = {"items": ["x" * 40] * 60}
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [trimmed(orjson.dumps(body)) if trim else orjson.dumps(body) for _ in range(count)]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / len(kept)


def test_body_takes_no_more_room_than_it_is_long() -> None:
    length = len(orjson.dumps({"items": ["x" * 40] * 60}))
    assert held(200, trim=True) < length + 100


def test_body_stays_the_same() -> None:
    assert trimmed(b"{}") == b"{}"
    assert trimmed(b"") == b""
