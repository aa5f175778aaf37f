"""Scores: how good a row is for an ask, 0 to 100 a plugin, weighted as kube-scheduler does.

Integer arithmetic as the originals have it (Kubernetes 1.36 default plugins). The functions take
columns, or lines of single amounts: both give the same integers.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from proa.placement.domains import Bad, Wide, highest
from proa.placement.fleet import Ints, Mask

Floats = NDArray[np.float64]
Numbers = TypeVar("Numbers", Ints, Wide)

MAX_SCORE = 100
HALF = MAX_SCORE // 2
WEIGHT_TAINT, WEIGHT_AFFINITY, WEIGHT_SPREAD, WEIGHT_POD_AFFINITY = 3, 2, 2, 2
SMALLEST_IMAGES = 23 * 1024 * 1024
LARGEST_IMAGE = 1000 * 1024 * 1024


def least_allocated(capacity: Ints, requested: Ints) -> Ints:
    """(capacity - requested) · 100 / capacity, the mean of CPU and memory as far as a row has
    them (NodeResourcesFit, LeastAllocated). Lines of (cpu, memory)."""
    safe = np.maximum(capacity, 1)
    share = np.where(requested <= capacity, (capacity - requested) * MAX_SCORE // safe, 0)
    has = capacity > 0
    weights = has.sum(axis=1)
    mean: Ints = np.where(has, share, 0).sum(axis=1) // np.maximum(weights, 1)
    return mean


def least_allocated_one(cpu: int, memory: int, cpu_asked: int, memory_asked: int) -> int:
    """``least_allocated`` of one row."""
    if not cpu or not memory:
        whole, asked = (cpu, cpu_asked) if cpu else (memory, memory_asked)
        return (whole - asked) * MAX_SCORE // whole if asked <= whole and whole else 0
    total = (cpu - cpu_asked) * MAX_SCORE // cpu if cpu_asked <= cpu else 0
    if memory_asked <= memory:
        total += (memory - memory_asked) * MAX_SCORE // memory
    return total // 2


def balanced(capacity: Ints, used: Ints, wanted: tuple[int, int]) -> Ints:
    """How much more even an ask makes the use of CPU and memory: 50 + (50 + with - without) / 2,
    each side (1 - standard deviation of the two shares) · 100 (NodeResourcesBalancedAllocation
    since 1.36)."""
    both: Mask = (capacity[:, 0] > 0) & (capacity[:, 1] > 0)
    safe = np.maximum(capacity, 1).astype(np.float64)
    after = _evenness(np.minimum((used + np.array(wanted)) / safe, 1.0), both)
    before = _evenness(np.minimum(used / safe, 1.0), both)
    score: Ints = HALF + (HALF + after - before) // 2
    return score


def _evenness(shares: Floats, both: Mask) -> Ints:
    deviation = np.where(both, np.abs((shares[:, 0] - shares[:, 1]) / 2), 0.0)
    even: Ints = ((1 - deviation) * MAX_SCORE).astype(np.int64)
    return even


def balanced_one(cpu: int, memory: int, used: tuple[int, int], after: tuple[int, int]) -> int:
    """``balanced`` of one row."""
    if cpu <= 0 or memory <= 0:
        return HALF + HALF // 2
    gain = _evenness_one(cpu, memory, after) - _evenness_one(cpu, memory, used)
    return HALF + (HALF + gain) // 2


def _evenness_one(cpu: int, memory: int, used: tuple[int, int]) -> int:
    of_cpu = used[0] / cpu if used[0] < cpu else 1.0
    of_memory = used[1] / memory if used[1] < memory else 1.0
    return int((1 - abs((of_cpu - of_memory) / 2)) * MAX_SCORE)


def reversed_share(counts: Wide, bad: Bad) -> Wide:
    """100 for none, 0 for the most: TaintToleration's normalisation."""
    most = highest(counts & ~bad, bad) if len(bad) else 0
    if most <= 0:
        return np.full_like(counts, MAX_SCORE)
    return MAX_SCORE - MAX_SCORE * counts // most


def share(sums: Wide, bad: Bad) -> Wide:
    """100 for the most: NodeAffinity's normalisation."""
    most = highest(sums, bad) if len(bad) else 0
    return np.zeros_like(sums) if most <= 0 else MAX_SCORE * sums // most


def between(sums: Numbers, least: int, most: int) -> Numbers:
    """0 for the least and 100 for the most: InterPodAffinity's normalisation."""
    span = most - least
    if span <= 0:
        return np.zeros_like(sums)
    return (float(MAX_SCORE) * ((sums - least) / float(span))).astype(sums.dtype)


def image_score(sizes: int, containers: int) -> int:
    """0 to 100 between 23 MiB and 1,000 MiB a container (ImageLocality)."""
    most = LARGEST_IMAGE * containers
    inside = min(max(sizes, SMALLEST_IMAGES), most)
    return MAX_SCORE * (inside - SMALLEST_IMAGES) // (most - SMALLEST_IMAGES)
