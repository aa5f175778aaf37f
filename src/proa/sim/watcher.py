"""A client that watches, drops its connection at random, resumes, and keeps books.

``scenario`` runs some beside a history. What a watch brings must fit what it brought before, and
at the end the books must show what a list shows: nothing missed, nothing twice.
"""

from __future__ import annotations

import contextlib
from typing import Any

import orjson

from proa.base.chance import Chance
from proa.base.errors import TryAgain
from proa.base.http import Peer, Request
from proa.sim.world import World, admin_certificate

Json = dict[str, Any]
PAUSE_S = 0.5
GONE = 410


class CheckingWatcher:
    """Follows one resource, given by the path of its list."""

    def __init__(self, world: World, chance: Chance, path: str) -> None:
        self._world, self._chance, self._path = world, chance, path
        self._peer = Peer("127.0.0.1", admin_certificate())
        self._books: dict[str, int] = {}  # object → its resourceVersion
        self._version = 0  # up to which everything is known; 0: nothing is
        self.resumed = 0

    async def run(self) -> None:
        """List once, then watch for ever."""
        while True:
            try:
                if not self._version:
                    self._books, self._version = await self._list()
                await self._follow()
            except TryAgain:
                pass
            await self._world.clock.sleep(PAUSE_S * self._chance.random())

    def _request(self, *query: tuple[str, str]) -> Request:
        return Request("GET", self._path, query, peer=self._peer)

    async def _list(self) -> tuple[dict[str, int], int]:
        answer = await self._world.kube(self._request())
        if answer.status != 200:
            raise TryAgain(f"{answer.status}")
        page = orjson.loads(answer.body)
        books = {_name(item): _version(item) for item in page["items"]}
        return books, int(page["metadata"]["resourceVersion"])

    async def _follow(self) -> None:
        """One connection, which this client or the control plane ends."""
        self.resumed += 1
        since = ("resourceVersion", str(self._version))
        answer = await self._world.kube(
            self._request(("watch", "true"), ("allowWatchBookmarks", "true"), since)
        )
        if answer.stream is None:
            if answer.status == GONE:
                self._version = 0
            raise TryAgain(f"{answer.status}")
        patience = self._chance.integer(1, 40)  # events until this client drops the connection
        async with contextlib.aclosing(self._world.watch(answer)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                for line in chunk.splitlines():
                    self._take(orjson.loads(line))
                    patience -= 1
                    if patience <= 0 or not self._version:
                        return  # what else came in this chunk was never read

    def _take(self, event: Json) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            self._version = 0
            return
        version = _version(item)
        if version < self._version or (version == self._version and kind != "BOOKMARK"):
            self._broken(f"{kind} at {version} after {self._version}")
        self._version = version
        if kind == "BOOKMARK":
            return
        name = _name(item)
        if (name in self._books) == (kind == "ADDED"):
            self._broken(f"{kind} of {name}, which is {self._books.get(name, 'not there')}")
        if kind == "DELETED":
            self._books.pop(name, None)
        else:
            self._books[name] = version

    def _broken(self, text: str) -> None:
        self._world.broken(f"a watch of {self._path} brought {text}")

    async def problems(self) -> list[str]:
        """Where the books differ from a list, once nothing changes any more."""
        for _ in range(60):
            with contextlib.suppress(TryAgain):
                wanted, _version = await self._list()
                if wanted == self._books:
                    return []
            await self._world.clock.sleep(1)
        names = sorted(set(wanted.items()) ^ set(self._books.items()))
        return [f"a watch of {self._path} missed {names[:4]}"]


def _name(item: Json) -> str:
    return f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def _version(item: Json) -> int:
    return int(item["metadata"]["resourceVersion"])
