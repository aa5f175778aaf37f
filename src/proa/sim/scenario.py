"""Scenarios: a history to play, as data, and the one function that plays it.

A scenario file (YAML) names hosts, images and how they behave, requests at their instants, faults
within spans of time, and what must be so at the end. ``run`` plays it under a seed, which decides
everything that the file leaves open; the same seed gives the same trace, byte for byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from proa.base.aio import gather
from proa.base.chance import Chance
from proa.base.clock import run_virtual
from proa.cloud.network.planner import NetworkPlanner
from proa.model.host import Host
from proa.model.resources import Resources
from proa.model.sandbox import Container
from proa.node.sim import Behaviour
from proa.sim.clients import Clients
from proa.sim.faults import Faults
from proa.sim.world import World

Json = dict[str, Any]
CPU_UNITS, MIB = 128_000, 1024 * 1024
POLL_S = 5.0
DEFAULT_SUBNET = "${default-subnet}"
_KINDS = ("kube", "ecs", "running")  # what a wanted state is read from


@dataclass(slots=True, frozen=True)
class Scenario:
    """A file's content. Instants are seconds from the start; ``within_s`` is how long after the
    last step and fault the wanted state may take."""

    name: str
    hosts: tuple[Json, ...]
    steps: tuple[Json, ...]
    wanted: tuple[Json, ...]
    faults: tuple[Json, ...] = ()
    images: dict[str, Json] = field(default_factory=dict)
    within_s: float = 300.0


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
    lists = {key: tuple(content[key]) for key in ("hosts", "steps", "wanted", "faults")}
    return Scenario(**{"name": path.stem, **content, **lists})


def run(scenario: Scenario, seed: str) -> Result:
    """Play a scenario in virtual time."""
    return run_virtual(_Play(scenario, seed).run())


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
        self._faults = Faults(self._world, self._behaviours, chance.child("faults"))

    def _behave(self, container: Container) -> Behaviour:
        return self._behaviours.get(container.image, Behaviour())

    async def run(self) -> Result:
        """The whole history, then judgement."""
        world = self._world
        await world.open()
        try:
            for facts in self._scenario.hosts:
                world.add_host(_host(facts))
            await gather([self._steps(), *self._planned_faults()])
            problems = await self._settle()
            problems += await self._clients.broken_promises()
            problems += list(world.violations)
        finally:
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

    async def _steps(self) -> None:
        for step in self._scenario.steps:
            await self._until(step["at"])
            if "ecs" in step:
                await self._clients.ecs(step["ecs"], self._filled(step.get("input", {})))
            else:
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
        return []

    async def _missing(self) -> list[str]:
        missing = []
        for wanted in self._scenario.wanted:
            name = next(wanted[kind] for kind in _KINDS if kind in wanted)
            for path, value in wanted["shows"].items():
                found = _at(await self._shown(wanted), path)
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


def _host(facts: Json) -> Host:
    pool = Resources(facts["vcpu"] * CPU_UNITS, facts["memory_mib"] * MIB, 100 * 1024 * MIB)
    return Host(facts["id"], facts["id"], pool, pool)


def _at(shown: Any, path: str) -> Any:
    """The value at a slash-separated path; None where there is none."""
    for part in path.split("/"):
        if isinstance(shown, list):
            index = int(part)
            shown = shown[index] if index < len(shown) else None
        elif isinstance(shown, dict):
            shown = shown.get(part)
        else:
            return None
    return shown
