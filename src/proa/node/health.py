"""Probes of one running container, and hooks: what they mean, not how they are carried out.

``SandboxWorker`` starts a ``Health`` for each attempt that has probes and stops it at the exit.
Rules are the kubelet's (prober, "Configure Liveness, Readiness and Startup Probes"); for the
skin "ecs" the readiness probe is the container health check, which restarts nothing and gives
``healthy`` after ``failures`` checks in a row, none of them within ``start_period_s``.
"""

from __future__ import annotations

from collections.abc import Callable

from proa.base.aio import Tasks
from proa.base.errors import CallerFault, TryAgain
from proa.model.sandbox import NodeEvent, Probe
from proa.node.context import Context
from proa.node.ports import Target
from proa.node.state import ContainerRun

_MAX_STREAK = 1_000_000


class Health:
    """The probes of one attempt of one container."""

    def __init__(
        self,
        context: Context,
        run: ContainerRun,
        target: Target,
        skin: str,
        adopted: bool,
        poke: Callable[[], None],
    ) -> None:
        self._context, self._run, self._target = context, run, target
        self._skin, self._poke = skin, poke
        self._tasks = Tasks()
        self._adopted = adopted

    def start(self) -> None:
        """Begin with the startup probe; the others wait for its success."""
        spec, run = self._run.spec, self._run
        if spec.startup is None:
            self._on_started()
        elif self._adopted and run.started:
            self._start_others()
        else:
            self._tasks.spawn(self._watch(spec.startup, "Startup"), f"startup {run.name}")

    def _on_started(self) -> None:
        self._run.started = True
        if self._run.spec.readiness is None:
            self._run.ready = True
        self._start_others()
        self._poke()

    def _start_others(self) -> None:
        spec = self._run.spec
        if spec.liveness is not None:
            self._tasks.spawn(self._watch(spec.liveness, "Liveness"), f"liveness {spec.name}")
        if spec.readiness is not None:
            self._tasks.spawn(self._watch(spec.readiness, "Readiness"), f"readiness {spec.name}")

    async def close(self) -> None:
        """The attempt is over."""
        await self._tasks.close()

    async def _watch(self, probe: Probe, kind: str) -> None:
        clock = self._context.clock
        if not self._adopted:
            await clock.sleep(probe.initial_delay_s)
        good = bad = 0
        while True:
            began = clock.monotonic()
            if kind != "Readiness" and self._run.busy == "stop":
                return  # it is ending anyway
            problem = await self._check(probe, kind)
            if problem:
                good, bad = 0, min(bad + 1, _MAX_STREAK)
                if self._counts(probe):
                    self._say(f"{kind} probe failed: {problem}")
                else:
                    bad = 0
            elif problem is not None:
                good, bad = min(good + 1, _MAX_STREAK), 0
            if self._conclude(probe, kind, good, bad):
                return
            await clock.sleep(max(0.0, probe.period_s - (clock.monotonic() - began)))

    async def _check(self, probe: Probe, kind: str) -> str | None:
        """Empty on success, why it failed, or None where that says nothing of the container."""
        try:
            return await self._context.prober.check(probe, self._target)
        except (TryAgain, CallerFault) as error:
            return self._not_carried_out(kind, error)

    def _not_carried_out(self, kind: str, error: Exception) -> str | None:
        """A check that failed by itself is thrown away (kubelet); for ECS a command that cannot
        be run is one that fails."""
        if self._skin == "ecs" and isinstance(error, CallerFault):
            return str(error)
        if not isinstance(error, TryAgain):  # the runtime is away: the user need not know
            self._say(f"{kind} probe errored and resulted in unknown state: {error}")
        return None

    def _counts(self, probe: Probe) -> bool:
        age_s = self._context.clock.now() - self._run.started_at
        return age_s >= probe.start_period_s

    def _say(self, message: str) -> None:
        self._context.event(
            NodeEvent(
                uid=self._target.uid,
                reason="Unhealthy",
                message=message,
                kind="Warning",
                container=self._run.name,
                at=self._context.clock.now(),
            )
        )

    def _conclude(self, probe: Probe, kind: str, good: int, bad: int) -> bool:
        """Act on the streak; whether this probe has no more to say."""
        run = self._run
        if kind == "Startup" and good >= 1:
            self._on_started()
            return True
        if kind in ("Startup", "Liveness"):
            if bad < probe.failures:
                return False
            run.kill_grace_s = probe.grace_s
            run.kill = f"Container {run.name} failed {kind.lower()} probe, will be restarted"
            self._poke()
            return True
        before = (run.ready, run.healthy)
        if good >= probe.successes:
            run.ready = True
        elif bad >= probe.failures:
            run.ready = False
        if self._skin == "ecs" and (good >= probe.successes or bad >= probe.failures):
            run.healthy = run.ready
        if (run.ready, run.healthy) != before:
            self._poke()
        return False
