"""What a service does next: how many tasks to start, which to stop. Pure arithmetic.

Called by the service controller with the tasks it sees. The rules are the service model's, on
DeploymentConfiguration: at least ceil(desired × minimumHealthyPercent / 100) tasks stay available,
at most floor(desired × maximumPercent / 100) are RUNNING or PENDING; unhealthy tasks are replaced
first where the ceiling allows. A task that was told to stop counts against the ceiling until its
agent says that it is stopping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

SETTLE_S = 40.0  # a task without health checks is available this long after RUNNING
THROTTLE_FIRST_S, THROTTLE_LAST_S = 5.0, 27 * 60.0
MIN_FAILURES, MAX_FAILURES = 3, 200


class Unit(msgspec.Struct, frozen=True, gc=False):
    """A task as the decision sees it. ``counted``: RUNNING or PENDING; ``wanted``: nobody has
    told it to stop; ``available``: it serves; ``unhealthy``: its health check fails; ``starved``:
    placement has found no room for it."""

    key: str
    deployment: str
    wanted: bool = True
    counted: bool = True
    available: bool = False
    unhealthy: bool = False
    starved: bool = False
    zone: str = ""
    instance: str = ""
    created_at: float = 0.0


class Decision(msgspec.Struct, frozen=True, gc=False):
    """``stop`` in order; ``blocked`` when the configured percentages forbid every next step."""

    start: int = 0
    stop: tuple[str, ...] = ()
    blocked: bool = False


def bounds(desired: int, configuration: dict[str, Any]) -> tuple[int, int]:
    """(floor, ceiling) in tasks."""
    low = configuration["minimumHealthyPercent"]
    high = configuration["maximumPercent"]
    return -(-desired * low // 100), desired * high // 100


def decide(
    desired: int,
    limits: tuple[int, int],
    primary: str,
    units: Sequence[Unit],
    may_start: bool = True,
) -> Decision:
    """The next step towards ``desired`` tasks of the deployment ``primary`` and none of others.

    ``may_start`` is False while the deployment has failed or is held back."""
    floor, ceiling = limits
    sound: list[Unit] = []
    sick: list[Unit] = []
    old: list[Unit] = []
    occupied = 0
    for unit in units:
        occupied += unit.counted
        if unit.wanted and unit.counted:
            (old if unit.deployment != primary else sick if unit.unhealthy else sound).append(unit)
    live = [*sound, *sick, *old]

    missing = max(0, desired - len(sound))
    start = min(missing, max(0, ceiling - occupied)) if may_start else 0
    shortage = missing - start if may_start else 0
    starved = len([unit for unit in sound if unit.starved])

    stop = surplus(sound, max(0, len(sound) - desired))
    stop += [unit for unit in old if not unit.available]
    stop += sick if _serving(sound) >= desired else sick[:shortage]
    left = _serving(live) - _serving(stop)
    serving = [unit for unit in old if unit.available]
    room = max(0, shortage - len(stop)) + starved
    spare = min(len(serving), max(left - desired, room), left - floor)
    stop += surplus(serving, max(0, spare))

    moving = occupied > len(live) or any(not unit.available for unit in (*sound, *sick))
    blocked = shortage > 0 and not start and not stop and not moving
    return Decision(start, tuple(unit.key for unit in stop), blocked)


def _serving(units: Sequence[Unit]) -> int:
    return len([unit for unit in units if unit.available])


def surplus(units: Sequence[Unit], count: int) -> list[Unit]:
    """Which ``count`` of the units to stop: those that do not serve yet, then out of the zone and
    off the Instance that hold most, newest first (the inverse of spreading)."""
    if count <= 0:
        return []
    left = list(units)
    chosen: list[Unit] = []
    zones = Counter([unit.zone for unit in left])
    instances = Counter([unit.instance for unit in left])

    def least_missed(unit: Unit) -> tuple[object, ...]:
        crowd = (-zones[unit.zone], -instances[unit.instance])
        return (unit.available, *crowd, -unit.created_at, unit.key)

    for _ in range(count):
        unit = min(left, key=least_missed)
        left.remove(unit)
        chosen.append(unit)
        zones[unit.zone] -= 1
        instances[unit.instance] -= 1
    return chosen


def breaker_threshold(desired: int, breaker: dict[str, Any]) -> int:
    """Failures that trip the deployment circuit breaker: by default half of the desired count,
    at least 3 and at most 200."""
    configured = breaker.get("thresholdConfiguration") or {}
    kind = configured.get("type") or "BOUNDED_PERCENT"
    value = configured.get("value") or 50
    if kind == "COUNT":
        return max(1, int(value))
    share = -(-desired * int(value) // 100)
    return (
        max(1, share)
        if kind == "UNBOUNDED_PERCENT"
        else min(max(share, MIN_FAILURES), MAX_FAILURES)
    )


def throttle_s(streak: int, desired: int) -> float:
    """How long to wait after ``streak`` failures since the last healthy task, in seconds.

    ECS publishes only the upper end, 27 minutes; here the wait starts once as many tasks have
    failed as are desired, and doubles with each further round."""
    rounds = streak // max(1, desired)
    if rounds < 1:
        return 0.0
    return min(THROTTLE_LAST_S, THROTTLE_FIRST_S * 2.0 ** min(rounds - 1, 20))
