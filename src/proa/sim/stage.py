"""Where large scenarios are played: the whole control plane over a store in memory, and a crowd.

``large`` drives one. Unlike ``world``, nothing is slow or lossy unless a fault says so, the Hosts
are a ``Crowd``, and the trace keeps a hash instead of lines: a day is millions of events. Made
inside ``run_virtual``; everything that happens is a function of the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proa.base.chance import Chance
from proa.base.clock import VirtualClock
from proa.base.config import Config
from proa.base.errors import TryAgain
from proa.base.http import Request, Response
from proa.cloud.logs import MemoryEventLog
from proa.cloud.secrets import KEY_BYTES, Sealer
from proa.reconcile.view import View
from proa.server.assemble import ControlPlane, Outside
from proa.server.hull import HullApi
from proa.server.kube_cluster import KubeSecrets
from proa.sim.crowd import Crowd
from proa.sim.crowd_behaviour import Manners
from proa.sim.front import Front
from proa.sim.near import NearLink
from proa.sim.trace import Trace
from proa.sim.world import EPOCH, NoNodeLink, schemas, token_key
from proa.store.api import Event
from proa.store.memory import MemoryStore

Watcher = Callable[[Sequence[Event]], None]
_AUTHORITY = "simulated authority\n"  # the text that root-ca config maps carry


class Stage:
    """``open`` starts the control plane, ``close`` ends everything. ``watcher`` is told of every
    commit's events, in order."""

    def __init__(
        self, seed: str, manners: Manners, config: Config, watcher: Watcher, *, keep: bool = False
    ) -> None:
        self.clock = VirtualClock(EPOCH)
        self.chance = Chance(seed)
        self.config, self.keys = config, ("", "")
        self.trace = Trace(self.clock, keep)
        self.store = MemoryStore(self.clock, self._record)
        self.front: Front | None = None
        self._link = NearLink(self._hull)
        self.crowd = Crowd(self._link, self.clock, self.chance.child("crowd"), manners)
        self._watcher = watcher
        self._events = MemoryEventLog()
        self._sealing_key = self.chance.child("sealing key").token(KEY_BYTES)
        self.failing = 0.0  # the share of requests that are answered with 503
        self._line_chance = self.chance.child("lines")
        self._lives = 0

    @property
    def view(self) -> View:
        """The control plane's picture. Raises TryAgain while there is none."""
        return self._front().plane.view

    async def open(self) -> None:
        """The first control plane."""
        await self.start_plane()

    def _record(self, events: Sequence[Event]) -> None:
        self.trace.commit(events)
        self._watcher(events)

    async def start_plane(self) -> None:
        """A control plane over what the store holds; each life draws its own chance."""
        assert self.front is None, "there is a control plane"
        self._lives += 1
        chance = self.chance.child(f"life {self._lives}")
        outside = Outside(
            sealer=Sealer(self._sealing_key, chance.child("nonces")),
            events=self._events,
            kube_secrets=KubeSecrets(_AUTHORITY, token_key()),
            schemas=schemas(),
            node_link=NoNodeLink(),
        )
        plane = ControlPlane(self.config, self.store, self.clock, chance, outside)
        self.trace.note("control plane starts")
        self.keys = await plane.start()
        self.front = Front(plane)

    async def crash_plane(self) -> None:
        """The control plane's process is killed; connections break."""
        assert self.front is not None, "there is no control plane"
        self.trace.note("control plane stops")
        front, self.front = self.front, None
        await front.crash()
        self._link.cut()

    def cut_feeds(self) -> None:
        """Break the connections of every agent."""
        self.trace.note("feeds break")
        self._link.cut()

    def _front(self) -> Front:
        if self.front is None:
            raise TryAgain("the control plane does not answer")
        return self.front

    def _weather(self) -> None:
        if self.failing and self._line_chance.random() < self.failing:
            raise TryAgain("503 Service Unavailable")

    def _hull(self) -> HullApi:
        return self._front().plane.hull

    async def aws(self, request: Request) -> Response:
        """Ask the AWS API. Raises TryAgain, as does ``kube``."""
        self._weather()
        front = self._front()
        return await front.ask(front.plane.aws.handle, request)

    async def kube(self, request: Request) -> Response:
        """Ask the Kubernetes API."""
        self._weather()
        front = self._front()
        return await front.ask(front.plane.kube.handle, request)

    def crashes(self) -> list[tuple[str, str]]:
        """(controller, key) of the bugs that the present control plane has met."""
        runner = self.front.plane.runner if self.front is not None else None
        return list(runner.crashes) if runner is not None else []

    async def close(self) -> None:
        """End the crowd and the control plane."""
        await self.crowd.close()
        if self.front is not None:
            await self.front.crash()
        await self.store.close()
