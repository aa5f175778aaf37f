"""Durations for programs without a loop: the supervisor and the command line.

Apart from ``clock``, which brings asyncio with it, because both are on the way to every start of
Proa and the supervisor stays resident.
"""

from __future__ import annotations

import time


def monotonic() -> float:
    """Seconds on a clock that never jumps; only differences mean anything."""
    return time.monotonic()
