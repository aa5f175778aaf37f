"""Scenarios: a history to play, as data, and the one function that plays it.

A scenario file (YAML) names hosts, images and how they behave, requests at their instants, faults
within spans of time, and what must be so at the end. ``run`` plays it under a seed, which decides
everything that the file leaves open; the same seed gives the same trace, byte for byte.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from proa.base.aio import Tasks, gather
from proa.base.chance import Chance
from proa.base.clock import VirtualLoop, run_virtual
from proa.cloud.network.planner import NetworkPlanner
from proa.model.host import Host
from proa.model.resources import Resources
from proa.model.sandbox import Container
from proa.node.sim import Behaviour
from proa.sim.clients import Clients, Refused, at
from proa.sim.contest import Contender
from proa.sim.faults import Faults
from proa.sim.line import StoreLine
from proa.sim.settled import unsettled
from proa.sim.watcher import CheckingWatcher
from proa.sim.world import World

Json = dict[str, Any]
CPU_UNITS, MIB = 128_000, 1024 * 1024
POLL_S = 5.0
DEFAULT_SUBNET = "${default-subnet}"
_LISTS = ("hosts", "steps", "wanted", "faults", "watched")
MAX_STEPS = 100_000
QUIET_S, QUIET_ROUNDS = 21.7, 5  # what is settled soon writes nothing more but signs of life
_KINDS = ("kube", "ecs", "running")  # what a wanted state is read from


@dataclass(slots=True, frozen=True)
class Scenario:
    """A file's content. Instants are seconds from the start; ``within_s`` is how long after the
    last step and fault the wanted state may take.

    ``settles``: every wish must be fulfilled in the end and nothing left over, besides what
    ``wanted`` names. ``watched`` are lists that checking watchers follow, ``contenders`` how many
    fight for a lead. A file that was kept because it found something says so in ``found``, and
    plays under ``seed``."""

    name: str
    hosts: tuple[Json, ...]
    steps: tuple[Json, ...]
    wanted: tuple[Json, ...] = ()
    faults: tuple[Json, ...] = ()
    images: dict[str, Json] = field(default_factory=dict)
    within_s: float = 300.0
    settles: bool = False
    watched: tuple[str, ...] = ()
    contenders: int = 0
    seed: str = "0"
    found: str = ""


class NoEnd(AssertionError):
    """A history takes far more steps than any that comes to rest."""


def _no_end() -> None:
    raise NoEnd(f"more than {MAX_STEPS} steps")


@dataclass(slots=True, frozen=True)
class Result:
    """What came of a run. ``problems`` is empty where everything held."""

    scenario: str
    seed: str
    trace: tuple[str, ...]
    trace_sha256: str
    seconds: float
    problems: tuple[str, ...]


def load(path: Path) -> Scenario:
    """Read a scenario's file. Raises TypeError for fields that there are not."""
    content = yaml.safe_load(path.read_text())
    lists = {key: tuple(content[key]) for key in _LISTS if key in content}
    return Scenario(**{"name": path.stem, **content, **lists})


def save(scenario: Scenario, path: Path) -> None:
    """Write a scenario's file, which ``load`` reads; what has its default is left out."""
    plain = json.loads(json.dumps(asdict(scenario)))
    default = asdict(Scenario("", (), ()))
    content = {key: value for key, value in plain.items() if value != default.get(key)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=100))


def run(scenario: Scenario, seed: str | None = None) -> Result:
    """Play a scenario in virtual time, under its own seed if none is given."""
    return run_virtual(_Play(scenario, scenario.seed if seed is None else seed).run())


class _Play:
    def __init__(self, scenario: Scenario, seed: str) -> None:
        self._scenario, self._seed = scenario, seed
        self._behaviours = {
            image: Behaviour(**fields) for image, fields in sorted(scenario.images.items())
        }
        chance = Chance(f"{scenario.name} {seed}")
        self._chance = chance.child("play")
        self._world = World(f"{scenario.name} {seed}", self._behave)
        self._clients = Clients(self._world)
        self._faults = Faults(self._world, self._behaviours, chance.child("faults"), self._clients)
        self._watchers = [
            CheckingWatcher(self._world, chance.child(f"watcher {path}"), path)
            for path in scenario.watched
        ]
        self._tasks = Tasks(lambda name, error: self._world.broken(f"{name}: {error!r}"))

    def _behave(self, container: Container) -> Behaviour:
        return self._behaviours.get(container.image, Behaviour())

    async def run(self) -> Result:
        """The whole history, then judgement. Raises NoEnd for one that goes round and round."""
        world = self._world
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            loop.before_step(loop.steps + MAX_STEPS, _no_end)
        await world.open()
        try:
            for facts in self._scenario.hosts:
                world.add_host(_host(facts))
            self._beside()
            users = dict.fromkeys(step.get("user", 0) for step in self._scenario.steps)
            await gather([*map(self._steps, users), *self._planned_faults()])
            problems = await self._settle()
            problems += await self._clients.broken_promises()
            for watcher in self._watchers:
                problems += await watcher.problems()
            problems += list(world.violations)
        finally:
            await self._tasks.close()
            await world.close()
        trace = world.trace
        return Result(
            self._scenario.name,
            self._seed,
            tuple(trace.lines),
            trace.sha256(),
            world.clock.monotonic(),
            tuple(problems),
        )

    def _beside(self) -> None:
        """Start what goes on beside the history."""
        world = self._world
        for number, watcher in enumerate(self._watchers):
            self._tasks.spawn(watcher.run(), f"watcher {number}")
        for number in range(self._scenario.contenders):
            name = f"contender-{number}"
            chance = self._chance.child(name)
            line = StoreLine(world.store, world.clock, chance, world.weather)
            contender = Contender(line, world.clock, chance, name)
            self._tasks.spawn(contender.run(), name)

    async def _steps(self, user: int) -> None:
        """One user's, each once the one before is answered."""
        for step in self._scenario.steps:
            if step.get("user", 0) != user:
                continue
            await self._until(step["at"])
            try:
                await self._step(step)
            except Refused as error:
                if not any(_is(error, one) for one in step.get("refusals", ())):
                    self._world.broken(f"{step.get('ecs') or step.get('kube')}: {error}")

    async def _step(self, step: Json) -> None:
        if "ecs" in step:
            await self._clients.ecs(step["ecs"], self._filled(step.get("input", {})))
            return
        method, _, path = step["kube"].partition(" ")
        content_type = step.get("content_type", "")
        await self._clients.kube(method, path, step.get("body"), content_type)

    def _filled(self, given: Json) -> Json:
        """An input with the default subnet's id in the place of ``DEFAULT_SUBNET``."""
        world = self._world
        planner = NetworkPlanner(world.view)
        subnet = planner.default_subnets(world.config.account, world.config.region)[0].id
        filled: Json = json.loads(json.dumps(given).replace(DEFAULT_SUBNET, subnet))
        return filled

    def _planned_faults(self) -> list[Any]:
        """Every fault at an instant of its span. A fault is its name among ``between`` and what
        it is given."""
        works = []
        for fault in self._scenario.faults:
            earliest, latest = fault["between"]
            at = earliest + (latest - earliest) * self._chance.random()
            works.append(self._fault(at, fault["fault"], fault.get("given", {})))
        return works

    async def _fault(self, at: float, name: str, given: Json) -> None:
        await self._until(at)
        await self._faults.play(name, given)

    async def _until(self, instant: float) -> None:
        clock = self._world.clock
        if instant > clock.monotonic():
            await clock.sleep(instant - clock.monotonic())

    async def _settle(self) -> list[str]:
        """Wait for the wanted state; what is still missing when time is over."""
        clock = self._world.clock
        deadline = clock.monotonic() + self._scenario.within_s
        while missing := await self._missing():
            if clock.monotonic() > deadline:
                return missing
            await clock.sleep(POLL_S)
        return await self._quiet() if self._scenario.settles else []

    async def _quiet(self) -> list[str]:
        """What goes on changing though everything is as it should be."""
        world, changed, moved = self._world, [""], [""]
        for _ in range(QUIET_ROUNDS):
            before = dict(world.writes)
            await world.clock.sleep(QUIET_S)
            changed = [key for key, count in world.writes.items() if count != before.get(key)]
            moved = unsettled(world)
            if not changed and not moved:
                return []
        return [f"no rest: {changed[:4]} {moved}"]

    async def _missing(self) -> list[str]:
        missing = unsettled(self._world) if self._scenario.settles else []
        for wanted in self._scenario.wanted:
            name = next(wanted[kind] for kind in _KINDS if kind in wanted)
            for path, value in wanted["shows"].items():
                found = at(await self._shown(wanted), path)
                if found != value:
                    missing.append(f"{name}: {path} is {found!r}, not {value!r}")
        return missing

    async def _shown(self, wanted: Json) -> Any:
        if "kube" in wanted:
            return await self._clients.kube("GET", wanted["kube"])
        if "ecs" in wanted:
            return await self._clients.ecs(wanted["ecs"], wanted.get("input", {}))
        return await self._running()

    async def _running(self) -> dict[str, int]:
        """How many containers of each image run, on all machines."""
        counts: dict[str, int] = {}
        for host in self._world.hosts.values():
            for container in (await host.runtime.list()).containers:
                if container.state == "running":
                    counts[container.image] = counts.get(container.image, 0) + 1
        return counts


def _is(error: Refused, refusal: int | str) -> bool:
    """A refusal that a step may meet is named by its status or by what it says."""
    return refusal in str(error) if isinstance(refusal, str) else error.status == refusal


def _host(facts: Json) -> Host:
    pool = Resources(facts["vcpu"] * CPU_UNITS, facts["memory_mib"] * MIB, 100 * 1024 * MIB)
    return Host(facts["id"], facts["id"], pool, pool)
