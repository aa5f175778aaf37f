"""Lines of simulated containers that have a log group: to CloudWatch, as the agent's shipper does.

The crowd tells ``LogShipping.observe`` of every status; each new attempt of a container ships what
it has to say, all at its start. A crowd without ``awslogs`` containers costs nothing here.
"""

from __future__ import annotations

from proa.base.aio import Tasks
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.feed import LogBatch, LogLine
from proa.model.sandbox import SandboxStatus
from proa.node.state import ContainerRun
from proa.sim.crowd import Crowd, Machine
from proa.sim.crowd_api import lines_of
from proa.sim.crowd_box import Box
from proa.sim.crowd_link import CrowdLink

log = get_logger(__name__)
ATTEMPTS, RETRY_S = 20, 1.0


class LogShipping:
    """Made before its crowd, which ``follow`` then gives it."""

    def __init__(self, link: CrowdLink) -> None:
        self._link = link
        self._crowd: Crowd | None = None
        self._shipped: dict[str, dict[str, int]] = {}  # uid → container → attempt
        self._tasks = Tasks()

    def follow(self, crowd: Crowd) -> None:
        """The crowd whose containers speak."""
        self._crowd = crowd

    def observe(self, _machine: Machine, box: Box, status: SandboxStatus | None) -> None:
        """See ``crowd.Observer``."""
        assert self._crowd is not None, "the crowd comes before its statuses"
        uid = box.run.uid
        if status is None or status.gone:
            self._shipped.pop(uid, None)
            return
        for container in box.run.containers.values():
            if container.spec.log is None or not container.started_at:
                continue
            known = self._shipped.setdefault(uid, {})
            if known.get(container.name) != container.attempt:
                known[container.name] = container.attempt
                batch = _batch(self._crowd, box, container)
                self._tasks.spawn(self._ship(batch), f"lines of {container.name}")

    async def _ship(self, batch: LogBatch) -> None:
        assert self._crowd is not None, "the crowd comes before its lines"
        for _ in range(ATTEMPTS):
            try:
                return await self._link.ship(batch)
            except TryAgain:
                await self._crowd.clock.sleep(RETRY_S)
            except CallerFault as error:
                log.warning("lines not taken", source=batch.source, why=str(error))
                return None
        log.warning("lines not taken", source=batch.source)
        return None

    async def close(self) -> None:
        """Stop shipping."""
        await self._tasks.close()


def _batch(crowd: Crowd, box: Box, container: ContainerRun) -> LogBatch:
    sink = container.spec.log
    assert sink is not None, "it has a sink"
    lines = tuple(
        LogLine(int((container.started_at + at) * 1000), text)
        for at, text in lines_of(crowd, box, container)
    )
    source = f"{box.run.uid}/{container.name}/{container.attempt}"
    return LogBatch(sink.account, sink.region, sink.group, sink.stream, source, 0, lines)
