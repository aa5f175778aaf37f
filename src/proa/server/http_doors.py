"""The real doors: one HTTPS shell a cluster at the configured address, and one for each address
at which its pods reach it. All of them stand behind one TLS terminator."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass, field

from proa.base.clock import Clock, SystemClock
from proa.base.telemetry import get_logger
from proa.server.doors import Door
from proa.server.http import BACKLOG, Shell
from proa.server.terminator.child import Terminator
from proa.server.terminator.contexts import context_of
from proa.server.terminator.frames import Keys

log = get_logger(__name__)
EVERYWHERE = "0.0.0.0"
_IP_FREEBIND = 15  # linux/in.h; Python does not name it


@dataclass(slots=True)
class _Opened:
    door: Door
    keys: Keys
    shells: dict[str, Shell] = field(default_factory=dict)  # by address


class HttpDoors:
    """Doors at the address ``listen``."""

    def __init__(self, listen: str, clock: Clock | None = None) -> None:
        self._listen = listen
        self._terminator = Terminator(clock or SystemClock())
        self._opened: dict[str, _Opened] = {}

    async def open(self, door: Door) -> None:
        """See ``Doors``. Raises ssl.SSLError for keys that are none."""
        if door.cluster in self._opened:
            return
        keys = Keys(door.certificate_pem, door.key_pem, door.ca_pem)
        context_of(keys)
        opened = _Opened(door, keys)
        self._show(opened, self._listen, listening(self._listen, door.port))
        self._opened[door.cluster] = opened

    async def reach(self, cluster: str, addresses: Collection[str]) -> None:
        """See ``Doors``; an address that cannot be had is logged."""
        opened = self._opened.get(cluster)
        if opened is None or self._listen == EVERYWHERE:
            return
        wanted = {self._listen, *addresses}
        for address in sorted(opened.shells.keys() - wanted):
            await opened.shells.pop(address).close()
        for address in sorted(wanted - opened.shells.keys()):
            try:
                sockets = listening(address, opened.door.port, absent=True)
            except OSError as error:
                log.warning("pods cannot reach the API", address=address, error=str(error))
            else:
                self._show(opened, address, sockets)

    def _show(self, opened: _Opened, address: str, sockets: list[socket.socket]) -> None:
        shell = opened.shells[address] = Shell(opened.door.handler)
        shell.start_terminated(self._terminator, sockets, opened.keys)

    async def close(self, cluster: str) -> None:
        """See ``Doors``."""
        opened = self._opened.pop(cluster, None)
        if opened is not None:
            for shell in opened.shells.values():
                await shell.close()

    async def close_all(self) -> None:
        """Close every door."""
        for cluster in list(self._opened):
            await self.close(cluster)
        await self._terminator.close()


def listening(host: str, port: int, *, absent: bool = False) -> list[socket.socket]:
    """Sockets that listen at every address of a host; with ``absent`` also at one that the
    machine does not have yet (ip(7), IP_FREEBIND). Raises OSError where the port is taken."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if absent:
                one.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            one.bind(address)
            one.listen(BACKLOG)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets
