"""The trace's hash: of everything in its order, however much there is of it."""

from __future__ import annotations

import hashlib

import pytest

from proa.base.clock import SystemClock
from proa.sim import trace as under_test
from proa.sim.trace import Trace
from proa.store.api import Event, Record


class Still(SystemClock):
    """No time passes."""

    def monotonic(self) -> float:
        return 7.0


def _history(numbers: range) -> tuple[Trace, bytes]:
    trace, text = Trace(Still(), keep=False), b""
    for number in numbers:
        body = f"body {number} ".encode() * 40
        trace.commit([Event("put", Record(f"/k/{number}", body, number, number), None)])
        trace.note(f"after {number}")
        text += b"7.000000 put /k/%d %d %b\n" % (number, number, body)
        text += b"7.000000 after %d\n" % number
    return trace, text


def test_hash_is_of_the_whole_history_in_order_when_it_takes_many_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "BLOCK_BYTES", 1000)
    trace, text = _history(range(1, 200))
    assert trace.sha256() == hashlib.sha256(text).hexdigest()
    assert trace.sha256() == hashlib.sha256(text).hexdigest()


def test_hash_of_a_short_history_needs_no_full_block() -> None:
    trace, text = _history(range(1, 3))
    assert trace.sha256() == hashlib.sha256(text).hexdigest()


def test_history_goes_on_after_its_hash_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "BLOCK_BYTES", 1000)
    trace, text = _history(range(1, 20))
    trace.sha256()
    trace.note("later")
    assert trace.sha256() == hashlib.sha256(text + b"7.000000 later\n").hexdigest()
