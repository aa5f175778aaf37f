"""A gateway over a real moto worker, for boto3 without sockets of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from proa.aws.gateway.gateway import AwsGateway
from proa.aws.gateway.service import Context, Input
from proa.aws.longtail.process import MotoProcess
from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.cloud.identity import Credential
from tests.unit.aws.client import Caller

T = TypeVar("T")
ACCOUNT = "000000000000"
KEY, SECRET = "AKIAPROATEST00000001", "secret"


class OneKey:
    """Knows the key that ``Caller`` signs with."""

    def lookup(self, access_key: str) -> Credential | None:
        root = f"arn:aws:iam::{ACCOUNT}:root"
        return Credential(KEY, SECRET, ACCOUNT, root) if access_key == KEY else None


class Rules:
    """Refuses the actions it is told to refuse, and remembers all."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Input]] = []
        self.refused: Sequence[str] = ()

    def __call__(self, context: Context, action: str, given: Input) -> str | None:
        self.asked.append((action, given))
        return "because" if action in self.refused else None


class TailWorld:
    """One data directory, one worker."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.rules = Rules()
        self.tail = self.run(self._tail(folder))
        self.gateway = AwsGateway(
            [], OneKey(), SystemClock(), Chance("tail"), self.rules, self.tail
        )
        self.caller = Caller(self.gateway.handle, self.loop)

    async def _tail(self, folder: Path) -> MotoProcess:
        return MotoProcess(folder, SystemClock())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def client(self, service: str, **options: Any) -> Any:
        return self.caller.client(service, **options)

    def kill(self) -> None:
        """SIGKILL for the worker."""
        process = self.tail._process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        self.run(process.wait())
        self.run(asyncio.sleep(0.01))

    def close(self) -> None:
        self.run(self.tail.close())
        self.caller.close()
