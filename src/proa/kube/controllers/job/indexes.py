"""Completion indexes of Indexed Jobs: sets of them as text, and what became of each.

Rules: "Indexed Job" (KEP-2214), KEP-3850 (backoff limit per index). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.kube.objects import Pod

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


def index_of(pod: Pod) -> int | None:
    """A pod's completion index; None for one that has none, or nonsense."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isdigit() else None


def failures_of(pod: Pod, which: str = FAILURES) -> int:
    """How many failures of its index there were before this pod."""
    text = pod.metadata.annotations.get(which, "")
    return int(text) if text.isdigit() else 0


def parse(text: str, limit: int) -> set[int]:
    """The indexes below ``limit`` in "1,3-5,7"; parts that make no sense are left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), min(int(last or first), limit - 1) + 1))
    return {index for index in found if index < limit}


def text_of(indexes: Iterable[int]) -> str:
    """ "1,3-5,7": three and more in a row are a range, as are two ("3,4" is written so)."""
    spans: list[list[int]] = []
    for index in sorted(indexes):
        if spans and spans[-1][1] == index - 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(_span(first, last) for first, last in spans)


def _span(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"


def pending(completions: int, taken: Iterable[int], count: int) -> list[int]:
    """The first ``count`` indexes that are not taken."""
    known = set(taken)
    found: list[int] = []
    for index in range(completions):
        if len(found) >= count:
            break
        if index not in known:
            found.append(index)
    return found


def latest_failures(failed: Sequence[Pod]) -> dict[int, Pod]:
    """For each index the failed pod with the most failures before it: the newest attempt."""
    latest: dict[int, Pod] = {}
    for pod in failed:
        index = index_of(pod)
        if index is None:
            continue
        known = latest.get(index)
        if known is None or _attempts(pod) >= _attempts(known):
            latest[index] = pod
    return latest


def _attempts(pod: Pod) -> int:
    return failures_of(pod) + failures_of(pod, IGNORED_FAILURES)
