"""Many seeds, one verdict each: what ``proa sim fuzz`` and the tests play.

A worker is a process that has read what every world needs; its heap is frozen then, and between
two seeds only what the last one left is collected, which is what makes a seed cheap. A crash of
the program itself, or of the harness, is a problem of its seed like any other.
"""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from proa.sim.fuzz import draw
from proa.sim.scenario import Result, Scenario, load, run

CHUNK = 5  # seeds that a worker takes at once


@dataclass(slots=True, frozen=True)
class Verdict:
    """What came of one seed; ``problems`` is empty where everything held."""

    seed: str
    problems: tuple[str, ...]
    trace_sha256: str = ""
    seconds: float = 0.0


def judge(scenario: Scenario) -> Verdict:
    """Play a scenario under its own seed."""
    try:
        result: Result = run(scenario)
    except Exception as error:
        where = "".join(traceback.format_exception(error)[-3:])
        return Verdict(scenario.seed, (f"the history broke off: {error!r}\n{where}",))
    return Verdict(scenario.seed, result.problems, result.trace_sha256, result.seconds)


def warm() -> None:
    """Read what every world needs, and leave it out of every later collection. What worlds log is
    their own business: errors are problems of theirs."""
    logging.getLogger("proa").setLevel(logging.ERROR)
    logging.getLogger("proa").propagate = False
    judge(draw("warm"))
    gc.collect()
    gc.freeze()
    gc.disable()


def _judge_seed(seed: str) -> Verdict:
    verdict = judge(draw(seed))
    gc.collect()
    return verdict


def play(seeds: Iterable[str], jobs: int) -> Iterator[Verdict]:
    """A verdict for each seed, in their order; ``jobs`` processes share the work."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=warm) as pool:
        yield from pool.map(_judge_seed, seeds, chunksize=CHUNK)


def kept(folder: Path) -> list[Scenario]:
    """The scenarios that once found something."""
    return [load(path) for path in sorted(folder.glob("*.yaml"))]
