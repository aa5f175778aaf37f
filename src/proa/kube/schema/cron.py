"""Cron schedules as Kubernetes reads them: five fields, names, steps, and the @ descriptors.

The rules of ``workloads`` call ``schedule_fault``; who acts on CronJobs may use ``parse``. The
grammar and the texts are those of the library that Kubernetes uses (robfig/cron, ParseStandard).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_STAR = re.compile(r"[*?](/1)?")  # with a larger step it says which days
_DURATION = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


class ScheduleError(ValueError):
    """What is wrong with a schedule."""


@dataclass(slots=True, frozen=True)
class Schedule:
    """When something is due: ``every_s`` apart where that is set, else at each minute whose parts
    are all among these. A day counts where either of both day fields names it, unless one of them
    is ``*`` (``days_free``, ``weekdays_free``)."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()  # 0 is Sunday
    days_free: bool = True
    weekdays_free: bool = True
    every_s: int = 0


def schedule_fault(text: str) -> str:
    """What is wrong with a schedule, or ""."""
    try:
        parse(text)
    except ScheduleError as error:
        return str(error)
    return ""


def parse(text: str) -> Schedule:
    """Raises ScheduleError."""
    if text.startswith("@every "):
        return Schedule(every_s=_duration(text))
    if text.startswith("@"):
        if text not in MACROS:
            raise ScheduleError(f"unrecognized descriptor: {text}")
        text = MACROS[text]
    fields = text.split()
    if len(fields) != len(_BOUNDS):
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = (
        _field(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)
    )
    free = [any(_STAR.fullmatch(part) for part in field.split(",")) for field in fields]
    return Schedule(minutes, hours, days, months, weekdays, free[2], free[4])


def _duration(text: str) -> int:
    """Whole seconds, at least one."""
    said = text.removeprefix("@every ")
    parts = list(_DURATION.finditer(said))
    if not parts or "".join(part[0] for part in parts) != said:
        raise ScheduleError(f'failed to parse duration {text}: time: invalid duration "{said}"')
    return max(1, int(sum(float(part[1]) * _SECONDS[part[3]] for part in parts)))


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        found.update(_range(part, low, high, names))
    return frozenset(found)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> range:
    """``*``, ``a``, ``a-b``, each with ``/step``."""
    said, *steps = text.split("/")
    ends = said.split("-")
    if len(ends) > 2:
        raise ScheduleError(f"too many hyphens: {text}")
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {text}")
    if ends[0] in ("*", "?"):
        start, end = low, high
    else:
        start = _number(ends[0], names)
        end = _number(ends[1], names) if len(ends) == 2 else high if steps else start
    step = _number(steps[0], {}) if steps else 1
    if start < low:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ScheduleError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")
    return range(start, end + 1, step)


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        if re.fullmatch(r"-\d+", text):
            raise ScheduleError(f"negative number ({text}) not allowed: {text}")
        raise ScheduleError(
            f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
        )
    return int(text)
