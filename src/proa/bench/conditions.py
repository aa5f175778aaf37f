"""What a machine gave to a benchmark: its speed, and what a hypervisor took of it for others.

``suite`` looks before and after each benchmark; ``report`` shows it beside the figures. A virtual
machine's processors are shared: the same code on the same machine differs twofold from hour to
hour, and a reader should see which hour it was.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_STEAL = 7  # of the numbers after "cpu": user nice system idle iowait irq softirq steal …
_GUEST = 8  # from here on counted in user and nice already
_SAMPLES, _CALLS = 20, 500


@dataclass(slots=True, frozen=True)
class Conditions:
    """``stolen`` is the share of all processors' time that a hypervisor gave to others, 0 where
    none says so; ``yardstick_us`` the microseconds that ``sum(range(100))`` took."""

    stolen: float
    yardstick_us: float

    def __str__(self) -> str:
        return (
            f"{self.stolen:.1%} of processor time stolen, "
            f"sum(range(100)) took {self.yardstick_us:.2f} us"
        )


class Watch:
    """Looks at the machine from its making until ``seen``."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._stolen, self._all = _ticks(stat)
        self._yardstick_us = yardstick()

    def seen(self) -> Conditions:
        """What was given since."""
        stolen, all = _ticks(self._stat)
        share = (stolen - self._stolen) / (all - self._all) if all > self._all else 0.0
        return Conditions(round(share, 4), round((self._yardstick_us + yardstick()) / 2, 3))


def _ticks(stat: Path) -> tuple[int, int]:
    """Stolen ones and all of all processors; zeros where the system does not tell."""
    try:
        numbers = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:]]
    except FileNotFoundError:
        return 0, 0
    return numbers[_STEAL], sum(numbers[:_GUEST])


def yardstick() -> float:
    """Microseconds of a fixed piece of Python, ``sum(range(100))``, on this machine right now."""
    rounds = []
    for _ in range(_SAMPLES):
        began = time.process_time()
        for _ in range(_CALLS):
            sum(range(100))
        rounds.append((time.process_time() - began) / _CALLS * 1e6)
    return statistics.median(rounds)
