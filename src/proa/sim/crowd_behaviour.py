"""How simulated containers behave, as data: by image, by pod label, by environment variable.

A scenario, or the file given to ``proa sim hosts``, lists images by glob; ``Manners.of`` draws one
attempt's life from it. What a container says of itself beats what its image says: a pod's label
``sim.proa/runs-s: "30"``, or a variable ``PROA_SIM_RUNS_S=30`` in either skin. Seconds are
simulated ones. Chance comes from the caller, so that a seed decides everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from proa.base.chance import Chance
from proa.base.errors import CallerFault
from proa.model.sandbox import Container, Sandbox

LABEL, VARIABLE = "sim.proa/", "PROA_SIM_"
DAY_S = 86_400.0
_NORMAL_95 = 1.6449  # the normal distribution's 95th percentile


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A distribution: ``uniform`` [low, high], ``exponential`` mean, or ``lognormal``
    [median, 95th percentile]. Exactly one is given."""

    uniform: tuple[float, float] | None = None
    exponential: float | None = None
    lognormal: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        given = (self.uniform, self.exponential, self.lognormal)
        if sum(item is not None for item in given) != 1:
            raise ValueError("a spread is one of uniform, exponential, lognormal")
        if self.lognormal is not None and not 0 < self.lognormal[0] <= self.lognormal[1]:
            raise ValueError("lognormal is [median, 95th percentile], both above 0")

    def draw(self, chance: Chance) -> float:
        """One value."""
        if self.uniform is not None:
            low, high = self.uniform
            return low + (high - low) * chance.random()
        if self.exponential is not None:
            return -self.exponential * math.log(1.0 - chance.random())
        assert self.lognormal is not None, "one of the three is given"
        median, high = self.lognormal
        radius = math.sqrt(-2.0 * math.log(1.0 - chance.random()))
        normal = radius * math.cos(2.0 * math.pi * chance.random())
        return median * math.exp(normal * math.log(high / median) / _NORMAL_95)


Amount = float | Spread


def drawn(amount: Amount, chance: Chance) -> float:
    """A fixed amount as it is, a spread drawn."""
    return amount if isinstance(amount, (int, float)) else amount.draw(chance)


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Usage over time as a share of what is requested: straight lines between ``points``
    [hour, share], again and again every ``period_h``."""

    points: tuple[tuple[float, float], ...]
    period_h: float = 24.0

    def __post_init__(self) -> None:
        hours = [hour for hour, _ in self.points]
        if not hours or hours != sorted(set(hours)) or not 0 <= hours[0] <= hours[-1]:
            raise ValueError("points are [hour, share], their hours ascending from 0 on")
        if hours[-1] > self.period_h:
            raise ValueError(f"hour {hours[-1]:g} is beyond the period of {self.period_h:g} h")

    def at(self, seconds: float) -> float:
        """The share at an instant after the scenario's start."""
        hour = seconds / 3600.0 % self.period_h
        before = (self.points[-1][0] - self.period_h, self.points[-1][1])
        for point in (*self.points, (self.points[0][0] + self.period_h, self.points[0][1])):
            if hour < point[0]:
                width = point[0] - before[0]
                return before[1] + (point[1] - before[1]) * (hour - before[0]) / width
            before = point
        return before[1]


STEADY = Curve(((0.0, 0.5),))


class Manner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an image's containers behave. ``runs_s`` None: for ever; ``stops_s`` None: the stop
    signal is ignored. ``pull_fails`` and ``fails`` are the shares of pulls and runs that end
    badly; a run that fails ends after ``fails_after_s``. ``cpu`` and ``memory`` name load curves
    or are shares of what is requested. ``says`` are the lines it writes once it has started,
    ``answers`` what commands executed in it print, by the command's words."""

    pull_s: Amount = 1.0
    pull_error: str = ""
    pull_fails: float = 0.0
    start_s: Amount = 0.1
    start_error: str = ""
    ready_s: Amount = 0.0
    runs_s: Amount | None = None
    exit_code: int = 0
    stops_s: Amount | None = 0.1
    stop_exit_code: int = 0
    fails: float = 0.0
    fails_after_s: Amount = 10.0
    fail_code: int = 1
    oom: bool = False
    cpu: str | float = 0.5
    memory: str | float = 0.5
    says: tuple[str, ...] = ()
    answers: dict[str, str] = {}


@dataclass(slots=True, frozen=True)
class Life:
    """One attempt of one container, drawn. Seconds; ``runs_s`` and ``stops_s`` as in Manner."""

    start_s: float
    ready_s: float
    runs_s: float | None
    exit_code: int
    stops_s: float | None


class Manners:
    """The behaviour of every image. ``of`` the image's glob that is listed first."""

    def __init__(
        self, images: Mapping[str, Manner], curves: Mapping[str, Curve] | None = None
    ) -> None:
        self._images = dict(images)
        self._curves = {"steady": STEADY, **(curves or {})}
        self._changed: dict[str, Manner] = {}
        self._cache: dict[str, Manner] = {}
        for manner in self._images.values():
            for name in (manner.cpu, manner.memory):
                if isinstance(name, str) and name not in self._curves:
                    raise CallerFault(f"there is no load curve {name!r}")

    def change(self, image: str, manner: Manner | None) -> None:
        """From now on an image behaves otherwise; None: as it did."""
        self._cache.clear()
        if manner is None:
            self._changed.pop(image, None)
        else:
            self._changed[image] = manner

    def of_image(self, image: str) -> Manner:
        """What is known of an image."""
        found = self._cache.get(image)
        if found is None:
            listed = {**self._changed, **self._images}
            changed = self._changed
            globs = [*changed, *(glob for glob in listed if glob not in changed)]
            match = next((glob for glob in globs if fnmatchcase(image, glob)), None)
            found = Manner() if match is None else (changed.get(match) or self._images[match])
            self._cache[image] = found
        return found

    def of(self, sandbox: Sandbox, container: Container) -> Manner:
        """How one container behaves: what it says itself, else what its image says. Words that
        mean nothing are ignored, as a real program ignores labels."""
        manner = self.of_image(container.image)
        said = [
            (name.removeprefix(LABEL).replace("-", "_"), value)
            for name, value in sandbox.labels
            if name.startswith(LABEL)
        ]
        said += [
            (name.removeprefix(VARIABLE).lower(), value)
            for name, value in container.environment
            if name.startswith(VARIABLE)
        ]
        return _changed(manner, said) if said else manner

    def load(self, curve: str | float, at_s: float) -> float:
        """A share of what is requested, at an instant after the scenario's start."""
        return self._curves[curve].at(at_s) if isinstance(curve, str) else curve


def _changed(manner: Manner, said: Sequence[tuple[str, str]]) -> Manner:
    changes: dict[str, Any] = {}
    for name, text in said:
        if name not in Manner.__struct_fields__:
            continue
        try:
            value: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            value = text
        changes[name] = value
    try:
        return msgspec.convert({**msgspec.to_builtins(manner), **changes}, Manner)
    except msgspec.ValidationError:
        return manner


def life_of(manner: Manner, chance: Chance) -> Life:
    """Draw one attempt."""
    runs_s = None if manner.runs_s is None else drawn(manner.runs_s, chance)
    exit_code = manner.exit_code
    if manner.fails and chance.random() < manner.fails:
        runs_s, exit_code = drawn(manner.fails_after_s, chance), manner.fail_code
    return Life(
        drawn(manner.start_s, chance),
        drawn(manner.ready_s, chance),
        runs_s,
        exit_code,
        None if manner.stops_s is None else drawn(manner.stops_s, chance),
    )


def manners_from(given: Any, curves: Any = None, kind: type[Manners] = Manners) -> Manners:
    """Read a file's ``images`` and ``curves``. Raises CallerFault that says what is wrong."""
    try:
        return kind(
            msgspec.convert(given or {}, dict[str, Manner]),
            msgspec.convert(curves or {}, dict[str, Curve]),
        )
    except msgspec.ValidationError as error:
        raise CallerFault(f"images: {error}") from error
