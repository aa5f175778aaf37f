"""Bring something to its newest desired form, dropping forms that were overtaken meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger

T = TypeVar("T")
log = get_logger(__name__)
_RETRY_S = 0.5
_RETRY_MAX_S = 30.0


class Latest(Generic[T]):
    """Applies the newest value with ``apply``, again and again until it succeeds."""

    def __init__(self, name: str, apply: Callable[[T], Awaitable[None]], clock: Clock) -> None:
        self._name, self._apply, self._clock = name, apply, clock
        self._value: T | None = None
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()

    def set(self, value: T) -> None:
        """The newest form."""
        self._value = value
        self._tried.clear()
        self._wake.set()

    async def tried(self) -> None:
        """Returns once the newest form has been applied, or has failed once."""
        await self._tried.wait()

    async def run(self) -> None:
        """Apply for ever."""
        delay_s = _RETRY_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            value = self._value
            if value is None:
                continue
            try:
                await self._apply(value)
                delay_s = _RETRY_S
            except (TryAgain, CallerFault, OSError) as error:
                log.warning("cannot apply", what=self._name, error=str(error))
                self._tried.set()
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_MAX_S)
                self._wake.set()
                continue
            if self._value is value:
                self._tried.set()
