"""Figures: what every benchmark reports, and the arithmetic that all of them share.

A ``Result`` is one JSON object: name, method, peer, figures, ratio. A ratio is Proa over
the peer, round by round of the same run, and the median of these.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(slots=True, frozen=True)
class Result:
    """What one benchmark found."""

    name: str
    method: str
    peer: str
    figures: dict[str, Any]
    ratio: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The object that is printed, with the machine it was measured on."""
        return {
            "name": self.name,
            "method": self.method,
            "peer": self.peer,
            "figures": self.figures,
            "ratio": {name: round(value, 3) for name, value in self.ratio.items()},
            "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
        }


def summary(samples: Sequence[float], unit: str) -> dict[str, Any]:
    """Median, smallest and largest of rounds, in ``unit``."""
    return {
        "unit": unit,
        "median": round(statistics.median(samples), 3),
        "min": round(min(samples), 3),
        "max": round(max(samples), 3),
        "rounds": len(samples),
    }


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """The median of the rounds' ratios: a round's neighbours in time met the same drift."""
    return statistics.median(one / other for one, other in zip(ours, peer, strict=True))


@dataclass(slots=True, frozen=True)
class Contender:
    """One side of a comparison: ``measure`` returns one sample; ``clear`` is not measured."""

    name: str
    measure: Callable[[], Awaitable[float]]
    clear: Callable[[], Awaitable[None]]


async def interleave(
    contenders: Sequence[Contender], rounds: int, warm_up: int
) -> dict[str, list[float]]:
    """Samples of each contender: in every round each has its turn, and the first of a round
    changes from round to round, so that drift meets all of them alike."""
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(warm_up + rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            try:
                sample = await contender.measure()
            finally:
                await contender.clear()
            if number >= warm_up:
                samples[contender.name].append(sample)
    return samples


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one run, with a path short enough for sockets; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="proa-bench-", ignore_cleanup_errors=True) as folder:
        path = Path(folder)
        path.chmod(0o711)
        yield path


def wait_until(check: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll every 5 ms. Raises TimeoutError with ``what``."""
    deadline = time.perf_counter() + timeout_s
    while not check():
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.005)
