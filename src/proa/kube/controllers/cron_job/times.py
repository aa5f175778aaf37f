"""When a CronJob should have run last, and when it should next.

Rules: kube-controller-manager's CronJob controller: of the times missed since the last run (or
the creation, or within startingDeadlineSeconds) only the newest counts; "CronJob: time zones", and
what its cron library does where a clock is put forward or back. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from proa.kube.schema.cron import Schedule

MANY = 100  # missed times above which users are warned
_YEARS = 5  # beyond which a schedule is taken never to come
_WINDOWS_S = (3600.0, 86_400.0, 31 * 86_400.0, 366 * 86_400.0, 5 * 366 * 86_400.0)


def zone_of(name: str | None) -> tzinfo:
    """A time zone by its name in the tz database; UTC for none. Raises ValueError."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name}") from error


def next_after(schedule: Schedule, at: float, zone: tzinfo = UTC) -> float:
    """The first instant after ``at`` (wall seconds) that a schedule names; 0 for none in years."""
    if schedule.every_s:
        return float(int(at)) + schedule.every_s
    day = datetime.fromtimestamp(at, zone).date()
    last = day.year + _YEARS
    while day.year <= last:
        if day.month in schedule.months and _has_day(schedule, day.day, day.isoweekday() % 7):
            found = _first(schedule, datetime(day.year, day.month, day.day, tzinfo=zone), at)
            if found:
                return found
        day += timedelta(days=1)
    return 0.0


def _has_day(schedule: Schedule, day: int, weekday: int) -> bool:
    by_date, by_weekday = day in schedule.days, weekday in schedule.weekdays
    if schedule.days_free or schedule.weekdays_free:
        return by_date and by_weekday
    return by_date or by_weekday


def _first(schedule: Schedule, day: datetime, at: float) -> float:
    """The first of one day that is after ``at``; 0 for none. What a clock that is put forward
    skips does not come, what one that is put back repeats comes twice."""
    for hour in sorted(schedule.hours):
        if day.replace(hour=hour, minute=59, fold=1).timestamp() <= at:
            continue
        found: list[float] = []
        for minute in schedule.minutes:
            for fold in (0, 1):
                instant = day.replace(hour=hour, minute=minute, fold=fold).timestamp()
                there = datetime.fromtimestamp(instant, day.tzinfo)
                if instant > at and (there.hour, there.minute) == (hour, minute):
                    found.append(instant)
        if found:
            return min(found)
    return 0.0


def instants(schedule: Schedule, after: float, until: float, zone: tzinfo) -> Iterator[float]:
    """What a schedule names after ``after`` and not after ``until``, in order."""
    at = next_after(schedule, after, zone)
    while at and at <= until:
        yield at
        at = next_after(schedule, at, zone)


class Due(NamedTuple):
    """``at`` is the newest time that has come and was not served, 0 for none; ``many`` that there
    were more than MANY; ``next`` the first that is still to come, 0 for none."""

    at: float
    many: bool
    next: float


def due(
    schedule: Schedule,
    zone: tzinfo,
    *,
    since: float,
    deadline_s: int | None,
    now: float,
) -> Due:
    """``since`` is the last time that was served, or the creation; with a deadline, older times
    than ``deadline_s`` do not count."""
    earliest = since if deadline_s is None else max(since, now - deadline_s)
    newest, many = _newest(schedule, zone, earliest, now)
    return Due(newest, many, next_after(schedule, now, zone))


def _newest(schedule: Schedule, zone: tzinfo, after: float, now: float) -> tuple[float, bool]:
    newest = 0.0
    for count, at in enumerate(instants(schedule, after, now, zone)):
        newest = at
        if count >= MANY:
            return _latest(schedule, zone, after, now), True
    return newest, False


def _latest(schedule: Schedule, zone: tzinfo, after: float, now: float) -> float:
    """The newest of very many: looked for from the end, in ever larger windows."""
    if schedule.every_s:
        return after + (now - after) // schedule.every_s * schedule.every_s
    for window_s in _WINDOWS_S:
        newest = 0.0
        for at in instants(schedule, max(after, now - window_s), now, zone):
            newest = at
        if newest:
            return newest
    return 0.0
