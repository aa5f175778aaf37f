"""A whole Proa in virtual time: the real control plane, simulated Hosts, clients, faults.

``scenario`` drives one; a test may drive one directly. Everything that happens is a function of
the seed: no threads (but the one that hashes a long trace), no sockets, no files, no wall clock.
Keys and certificates are the one thing drawn from outside, and they never reach the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import cache
from itertools import groupby

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import VirtualClock
from proa.base.config import Config
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Handler, Request, Response, Socket
from proa.cloud.logs import MemoryEventLog
from proa.cloud.secrets import KEY_BYTES, Sealer
from proa.kube import pki
from proa.kube.schema.cache import SchemaCache
from proa.model.host import Host
from proa.model.sandbox import Container
from proa.node.sim import Behaviour
from proa.reconcile.view import View
from proa.server.assemble import TABLES, ControlPlane, Outside
from proa.server.kube_cluster import KubeSecrets
from proa.sim.front import Front
from proa.sim.host import SimHost
from proa.sim.laws import Laws
from proa.sim.line import StoreLine, Weather
from proa.sim.trace import Trace
from proa.sim.upset import Upsets
from proa.store.api import Batch, Event
from proa.store.sqlite import SqliteStore, memory_store

EPOCH = 1_800_000_000.0
LATENCY_S = 0.02  # at most, one way
_SIGNS_OF_LIFE = ("/core/nodes/", "/leases/", "/hull/leader/", "/hull/contest/")
RESTART_S = 1.0  # after which a control plane that could not start is started again
_AUTHORITY = "simulated authority\n"  # the text that root-ca config maps carry


@cache
def schemas() -> SchemaCache:
    """The published definitions, read once a process."""
    return SchemaCache.open(None)


@cache
def admin_certificate() -> bytes:
    """A client certificate of a member of system:masters, in DER."""
    authority = pki.Authority.create(EPOCH)
    pem, _ = authority.issue_client("kubernetes-admin", ["system:masters"], EPOCH)
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@cache
def token_key() -> bytes:
    """The key that service account tokens are signed with."""
    return pki.key_bytes(pki.new_key())


class NoNodeLink:
    """Logs and exec: simulated containers say nothing."""

    async def logs(
        self, node: str, pod_uid: str, container: str, options: dict[str, str]
    ) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk

    async def connect(self, node: str, path: str, query: Sequence[tuple[str, str]]) -> Socket:
        raise CallerFault("simulated containers run no commands")


class World:
    """Made inside ``run_virtual``; ``open`` starts the control plane, ``close`` ends everything."""

    def __init__(
        self, seed: str, behaviour: Callable[[Container], Behaviour], config: Config | None = None
    ) -> None:
        self.clock = VirtualClock(EPOCH)
        self.chance = Chance(seed)
        self.config = config or Config()
        self.trace = Trace(self.clock)
        self.hosts: dict[str, SimHost] = {}
        self.keys = ("", "")
        self.store: SqliteStore
        self.view: View
        self.laws: Laws
        self.front: Front | None = None
        self.weather = Weather()
        self.writes: dict[str, int] = {}  # of each key, signs of life apart
        self.violations: dict[str, None] = {}  # what broke a law, in the order it was seen
        self._behaviour = behaviour
        self._events = MemoryEventLog()
        self._sealing_key = self.chance.child("sealing key").token(KEY_BYTES)
        self._line_chance = self.chance.child("lines")
        self.losing = False  # half of all answers are lost on their way
        self.refusing = False  # half of all requests are turned away
        self._lives = 0
        self._starting: Front | None = None
        self._upsets = Upsets(self.broken)
        self._tasks = Tasks()

    def broken(self, text: str) -> None:
        """Something is not as it must be."""
        if text not in self.violations:
            self.violations[text] = None
            self.trace.note(f"BROKEN {text}")

    async def open(self) -> None:
        """Make the store and the first control plane."""
        self._upsets.watch()
        self.store = await memory_store(self.clock)
        self.view = View(self.store, TABLES)
        made = self._made("nobody", StoreLine(self.store, self.clock, self.chance, self.weather))
        skins = (made.aws.skin, made.kube.skin)  # what they say of the view is the same for all
        self.laws = Laws(self.view, skins, self.clock.monotonic, self._is_calm)
        self._tasks.spawn(self._record(), "trace")
        await self.start_plane()

    def _is_calm(self) -> bool:
        """Whether decisions are carried out within a moment."""
        return self.front is not None and not self.weather.slow_s and not self.weather.lag_s

    async def _record(self) -> None:
        """Write every commit into the trace, and look whether the laws still hold."""
        async for batch in self.store.watch("/", after=0):
            for events in _transactions(batch):
                for event in events:
                    self.trace.event(event)
                    self._count(event.record.key)
                self.view.take(Batch(events, events[-1].record.version))
                for text in self.laws.committed(events):
                    self.broken(text)
            self.view.take(Batch((), batch.version))
            self.view.synced.set()

    def _count(self, key: str) -> None:
        if not any(part in key for part in _SIGNS_OF_LIFE):
            self.writes[key] = self.writes.get(key, 0) + 1

    def _made(self, life: str, line: StoreLine) -> ControlPlane:
        chance = self.chance.child(life)
        outside = Outside(
            sealer=Sealer(self._sealing_key, chance.child("nonces")),
            events=self._events,
            kube_secrets=KubeSecrets(_AUTHORITY, token_key()),
            schemas=schemas(),
            node_link=NoNodeLink(),
        )
        return ControlPlane(self.config, line, self.clock, chance, outside)

    async def start_plane(self) -> None:
        """A control plane over what the store holds. Each life draws its own chance: a process
        that restarts does not draw the same names again. One that dies before it is up is started
        again, as the supervisor does."""
        assert self.front is None and self._starting is None, "there is a control plane"
        while self.front is None:
            self._lives += 1
            life = f"life {self._lives}"
            line = StoreLine(
                self.store, self.clock, self.chance.child(f"{life} line"), self.weather
            )
            front = self._starting = Front(self._made(life, line), line)
            self.trace.note("control plane starts")
            try:
                self.keys = await front.start()
                self.front = front
            except TryAgain as error:
                self.trace.note(f"control plane did not start: {error}")
                await front.crash()
                await self.clock.sleep(RESTART_S)
            finally:
                self._starting = None

    async def crash_plane(self) -> None:
        """The control plane's process is killed; connections break."""
        assert self.front is not None, "there is no control plane"
        await self._bury(self.kill_plane())

    def kill_plane(self) -> Front | None:
        """Kill the control plane's process, be it up or about to be: from this instant it does
        nothing any more. ``World`` starts one that was not up yet again by itself; one that was
        up is returned, to be buried."""
        if self._starting is not None:
            self.trace.note("control plane is killed while it starts")
            self._starting.kill()
            self._tasks.spawn(self._starting.crash(), "end of a control plane")
            return None
        front, self.front = self.front, None
        if front is not None:
            self.trace.note("control plane stops")
            front.kill()
        return front

    async def _bury(self, front: Front | None) -> None:
        if front is None:
            return
        await front.crash()
        for host in self.hosts.values():
            host.link.cut()

    def kill_for(self, away_s: float) -> None:
        """Kill the control plane now, between two awaits, and start another after a while."""
        front = self.kill_plane()
        if front is not None:
            self._tasks.spawn(self._return(front, away_s), "return of the control plane")

    async def _return(self, front: Front, away_s: float) -> None:
        await self._bury(front)
        await self.clock.sleep(away_s)
        await self.start_plane()

    def add_host(self, facts: Host) -> SimHost:
        """A machine joins."""
        host = SimHost(
            facts,
            VirtualClock(EPOCH),  # its own, which may go wrong
            self.chance.child(f"host {facts.id}"),
            self.hull,
            self._behaviour,
            self.trace.note,
            self.laws.places,
        )
        self.hosts[facts.id] = host
        host.start()
        return host

    def _front(self) -> Front:
        if self.front is None:
            raise TryAgain("the control plane does not answer")
        return self.front

    async def _ask(self, front: Front, handler: Handler, request: Request) -> Response:
        """Over a line that takes its time both ways, and may lose the answer."""
        await self.clock.sleep(LATENCY_S * self._line_chance.random())
        if front is not self.front:
            raise TryAgain("the control plane went away")
        if self.refusing and self._line_chance.random() < 0.5:
            raise TryAgain("503 Service Unavailable")
        answer = await front.ask(handler, request)
        await self.clock.sleep(LATENCY_S * self._line_chance.random())
        if front is not self.front or (self.losing and self._line_chance.random() < 0.5):
            raise TryAgain("the connection broke before the answer came")
        return answer

    async def hull(self, request: Request) -> Response:
        """Ask the hull's API. Raises TryAgain, as do ``aws`` and ``kube``."""
        front = self._front()
        return await self._ask(front, front.plane.hull.handle, request)

    async def aws(self, request: Request) -> Response:
        """Ask the AWS API."""
        front = self._front()
        return await self._ask(front, front.plane.aws.handle, request)

    async def kube(self, request: Request) -> Response:
        """Ask the Kubernetes API."""
        front = self._front()
        return await self._ask(front, front.plane.kube.handle, request)

    def watch(self, answer: Response) -> AsyncIterator[bytes]:
        """What a watch that was asked for says, until the control plane dies."""
        assert answer.stream is not None, "this is no watch"
        return self._front().follow(answer.stream)

    async def close(self) -> None:
        """End every machine and the control plane."""
        for host in self.hosts.values():
            await host.close()
        for front in (self.front, self._starting):
            if front is not None:
                await front.crash()
        await self._tasks.close()
        self._upsets.close()
        await self.store.close()


def _transactions(batch: Batch) -> Iterator[tuple[Event, ...]]:
    """The batch's events by the transaction that they come from."""
    for _, events in groupby(batch.events, lambda event: event.record.version >> 8):
        yield tuple(events)
