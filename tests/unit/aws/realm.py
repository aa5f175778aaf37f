"""A small AWS for tests: the real store in memory, a view, identities, and a gateway that boto3
clients call without sockets, all on one virtual loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError

from proa.aws.gateway.desk import Desk
from proa.aws.gateway.gateway import AwsGateway
from proa.aws.gateway.service import Service
from proa.aws.iam import service as iam
from proa.aws.iam.authorize import Authority
from proa.aws.sts import service as sts
from proa.base.chance import Chance
from proa.base.clock import VirtualClock, VirtualLoop
from proa.cloud import identity
from proa.cloud.identity import Identities, ensure_root
from proa.cloud.secrets import KEY_BYTES, Sealer
from proa.reconcile.view import Table, View
from proa.store.sqlite import memory_store
from tests.unit.aws.client import Caller

T = TypeVar("T")
ACCOUNT, REGION = "000000000000", "us-east-1"


class RealmClock(VirtualClock):
    """A virtual clock that can also be read between two runs of its loop. It starts at the
    machine's time, with which botocore signs."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(time.time())
        self._loop = loop

    def now(self) -> float:
        return self.epoch + self._loop.time()


class Realm:
    """``make`` builds further slices from the desk; ``tables`` are theirs."""

    def __init__(
        self,
        tables: tuple[Table[Any], ...] = (),
        make: Callable[[Realm], list[Service]] = lambda _realm: [],
    ) -> None:
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.clock = RealmClock(self.loop)
        self.chance = Chance("realm")
        self.sealer = Sealer(bytes(KEY_BYTES), self.chance.child("seal"))
        self.store = self.run(memory_store(self.clock))
        self.view = View(self.store, (*identity.TABLES, *tables))
        self.watching = self.loop.create_task(self.view.run(), name="view")
        self.run(self.view.synced.wait())
        self.desk = Desk(self.store, self.view, self.chance)
        self.root = self.run(
            ensure_root(self.store, self.sealer, self.chance, ACCOUNT, self.clock.now())
        )
        self.run(self._seen())
        services = [iam.build(self.desk, self.sealer), sts.build(self.desk, self.sealer)]
        self.gateway = AwsGateway(
            [*services, *make(self)],
            Identities(self.view, self.sealer),
            self.clock,
            self.chance.child("gateway"),
            Authority(self.view, self.sealer),
        )
        self.caller = Caller(self.gateway.handle, self.loop)

    async def _seen(self) -> None:
        await self.view.reached(await self.store.version())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the realm's loop."""
        return self.loop.run_until_complete(work)

    def client(self, service: str, **options: Any) -> Any:
        """A client with the root user's key, unless told otherwise."""
        given = {"access_key": self.root[0], "secret": self.root[1], **options}
        return self.caller.client(service, **given)

    def client_of(self, credentials: dict[str, Any], service: str) -> Any:
        """A client with credentials as STS or IAM answers them."""
        return self.caller.client(
            service,
            access_key=credentials["AccessKeyId"],
            secret=credentials["SecretAccessKey"],
            token=credentials.get("SessionToken"),
        )

    def close(self) -> None:
        """Stop what runs."""
        self.watching.cancel()
        self.run(self.store.close())
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        asyncio.set_event_loop(None)
        self.caller.close()


def refusal(call: Any, **given: Any) -> tuple[str, str]:
    """Code and message of the error that a call must end in."""
    with pytest.raises(ClientError) as caught:
        call(**given)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]
