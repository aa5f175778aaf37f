"""Ports as a process holds them: calls may fail for a while, and end with the process.

``SimHost`` hands its agent's ports out through these. An agent that is killed between two awaits
has tasks that still unwind; nothing that they try reaches the runtime or the control plane.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

# (port, method) → the error that this call meets, None for none.
Trouble = Callable[[str, str], Exception | None]


class Life:
    """One process's; ``ended`` from the instant it is killed."""

    def __init__(self) -> None:
        self.ended = False

    async def go_on(self) -> None:
        """Return while the process lives; the dead wait until they are cancelled."""
        if self.ended:
            await asyncio.get_running_loop().create_future()


class Mortal:
    """A port of one life: every call of the one behind it, as long as it lasts."""

    def __init__(self, name: str, port: object, life: Life, trouble: Trouble) -> None:
        self._name, self._port, self._life, self._trouble = name, port, life, trouble

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._port, method)
        if inspect.isasyncgenfunction(found):
            made = self._stream(found)
        elif inspect.iscoroutinefunction(found):
            made = self._call(method, found)
        else:
            return found
        self.__dict__[method] = made
        return made

    def _call(self, method: str, found: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*given: Any, **named: Any) -> Any:
            await self._life.go_on()
            error = self._trouble(self._name, method)
            if error is not None:
                raise error
            answer = await found(*given, **named)
            await self._life.go_on()
            return answer

        return call

    def _stream(self, found: Callable[..., Any]) -> Callable[..., Any]:
        async def stream(*given: Any, **named: Any) -> AsyncIterator[Any]:
            await self._life.go_on()
            async for item in found(*given, **named):
                await self._life.go_on()
                yield item

        return stream
