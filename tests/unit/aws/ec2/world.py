"""EC2 behind a real gateway, over a store in memory, called by boto3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from proa.aws.ec2.service import OPERATIONS, build
from proa.aws.gateway.gateway import AwsGateway
from proa.aws.gateway.service import Context, Input, Operation, Output, Service
from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.config import Config
from proa.cloud.compute import INSTANCES
from proa.cloud.identity import Credential
from proa.cloud.network import NETWORK_TABLES, NetworkPlanner, bootstrap_network
from proa.store.api import Committed, Transaction
from tests.unit.aws.client import Caller
from tests.unit.cloud.shelf import Shelf

ACCOUNT, REGION = "000000000000", "us-east-1"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


class Keys:
    def lookup(self, access_key: str) -> Credential | None:
        return Credential(access_key, "secret", ACCOUNT, ROOT)


class ShelfStore:
    """The part of a store that EC2 uses; ``before_commit`` runs before the next commit only, as
    somebody else's write would."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.before_commit: Callable[[], object] | None = None

    async def commit(self, transaction: Transaction) -> Committed:
        interloper, self.before_commit = self.before_commit, None
        if interloper is not None:
            interloper()
        return self._shelf.commit(transaction)

    async def version(self) -> int:
        return self._shelf.view.version


class Stage:
    """One gateway for all tests, because compiling EC2's model takes a third of a second; it
    serves the world that was made last."""

    current: World

    def __init__(self) -> None:
        operations = {name: self._forward(name) for name in OPERATIONS}
        service = Service("ec2", operations)
        gateway = AwsGateway([service], Keys(), SystemClock(), Chance("gateway"))  # type: ignore[arg-type]
        self.caller = Caller(gateway.handle)
        self.ec2 = self.caller.client("ec2")

    def _forward(self, name: str) -> Operation:
        async def operation(context: Context, given: Input) -> Output:
            return await self.current.service.operations[name](context, given)

        return operation


class World:
    """The default network of one account, and boto3's client of it."""

    def __init__(self, stage: Stage) -> None:
        self.shelf = Shelf((*NETWORK_TABLES, INSTANCES))
        self.shelf.commit(bootstrap_network(ACCOUNT, REGION, Config()))
        self.store = ShelfStore(self.shelf)
        self.planner = NetworkPlanner(self.shelf.view)
        self.service = build(self.store, self.shelf.view, Chance("ec2"))  # type: ignore[arg-type]
        stage.current = self
        self.caller, self.ec2 = stage.caller, stage.ec2

    @property
    def vpc(self) -> str:
        vpc = self.planner.default_vpc(ACCOUNT, REGION)
        assert vpc is not None
        return vpc.id

    @property
    def subnet(self) -> str:
        return self.planner.default_subnets(ACCOUNT, REGION)[0].id

    def holds(self, subnet: str, groups: tuple[str, ...] = ()) -> str:
        """An interface as ECS would make one; returns its id."""
        plan = self.planner.plan_interface(
            account=ACCOUNT, region=REGION, subnet_id=subnet, groups=groups,
            holder="/task/1", description="a task's", chance=Chance("x"), public_ip=True, now=1.0,
        )  # fmt: skip
        self.shelf.apply(plan)
        return plan.interface.id


class refused:
    """``with refused("Code", "words"):`` the call must fail so."""

    def __init__(self, code: str, words: str = "") -> None:
        self._code, self._words = code, words

    def __enter__(self) -> None:
        self._raises = pytest.raises(ClientError)
        self._caught = self._raises.__enter__()

    def __exit__(self, *details: Any) -> bool:
        passed = bool(self._raises.__exit__(*details))
        error = self._caught.value.response["Error"]
        assert error["Code"] == self._code, error
        assert self._words in error["Message"], error
        return passed


def filters(**wanted: Any) -> list[dict[str, Any]]:
    """``filters(vpc_id="vpc-1")`` as the API wants it."""
    return [
        {"Name": name.replace("_", "-"), "Values": [value] if isinstance(value, str) else value}
        for name, value in wanted.items()
    ]
