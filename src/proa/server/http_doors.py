"""The real doors: one HTTPS shell a cluster at the configured address, and one for each address
at which its pods reach it."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field

from proa.base.telemetry import get_logger
from proa.server.doors import Door
from proa.server.http import Shell, tls_of_pem

log = get_logger(__name__)
EVERYWHERE = "0.0.0.0"


@dataclass(slots=True)
class _Opened:
    door: Door
    tls: ssl.SSLContext
    shells: dict[str, Shell] = field(default_factory=dict)  # by address


class HttpDoors:
    """Doors at the address ``listen``."""

    def __init__(self, listen: str) -> None:
        self._listen = listen
        self._opened: dict[str, _Opened] = {}

    async def open(self, door: Door) -> None:
        """See ``Doors``."""
        if door.cluster in self._opened:
            return
        tls = tls_of_pem(door.certificate_pem, door.key_pem, door.ca_pem)
        shell = Shell(door.handler)
        await _started(shell, shell.start(self._listen, door.port, tls))
        self._opened[door.cluster] = _Opened(door, tls, {self._listen: shell})

    async def reach(self, cluster: str, addresses: Collection[str]) -> None:
        """See ``Doors``; an address that cannot be had is logged."""
        opened = self._opened.get(cluster)
        if opened is None or self._listen == EVERYWHERE:
            return
        wanted = {self._listen, *addresses}
        for address in sorted(opened.shells.keys() - wanted):
            await opened.shells.pop(address).close()
        for address in sorted(wanted - opened.shells.keys()):
            shell = Shell(opened.door.handler)
            try:
                await _started(shell, shell.start_unbound(address, opened.door.port, opened.tls))
            except OSError as error:
                log.warning("pods cannot reach the API", address=address, error=str(error))
            else:
                opened.shells[address] = shell

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


async def _started(shell: Shell, starting: Awaitable[None]) -> None:
    try:
        await starting
    except BaseException:
        await shell.close()
        raise
