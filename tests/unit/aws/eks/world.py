"""EKS over a realm: the default network and cluster, a role that EKS may assume, and a stand-in
for the lifecycle, which brings clusters up when it is told to."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from proa.aws.eks.bootstrap import Home, bootstrap
from proa.aws.eks.desk import Eks
from proa.aws.eks.records import CLUSTERS, TABLES, UPDATES, Cluster, encode
from proa.aws.eks.service import build
from proa.base.config import Config
from proa.cloud.network import NETWORK_TABLES, NetworkPlanner, bootstrap_network
from proa.reconcile.view import Table
from proa.store.api import Delete, Put, Transaction
from tests.unit.aws.realm import ACCOUNT, REGION, Realm

FIRST_RANGE = "10.100.0.0/16"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "eks.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
HOME = Home(ACCOUNT, REGION, "1.36", FIRST_RANGE, 6443, "https://127.0.0.1:6443", "CA\n")


class World:
    """A realm with EKS in it."""

    def __init__(self, tables: tuple[Table[Any], ...] = ()) -> None:
        """``tables`` are further ones that its view shows."""
        self.realm = Realm(
            (*NETWORK_TABLES, *TABLES, *tables), lambda realm: [build(eks_of(realm))]
        )
        self.commit(bootstrap_network(ACCOUNT, REGION, Config()))
        first = bootstrap(self.realm.view, HOME, self.realm.clock.now())
        assert first is not None
        self.commit(first)
        self.eks = self.realm.client("eks")
        self.iam = self.realm.client("iam")
        made = self.iam.create_role(RoleName="eks", AssumeRolePolicyDocument=TRUST)
        self.role: str = made["Role"]["Arn"]

    def commit(self, transaction: Transaction) -> None:
        async def work() -> None:
            done = await self.realm.store.commit(transaction)
            await self.realm.view.reached(done.version)

        self.realm.run(work())

    @property
    def subnets(self) -> list[str]:
        planner = NetworkPlanner(self.realm.view)
        return [subnet.id for subnet in planner.default_subnets(ACCOUNT, REGION)]

    def create(self, name: str = "dev", **given: Any) -> dict[str, Any]:
        """Ask for a cluster."""
        wanted = {
            "name": name,
            "roleArn": self.role,
            "resourcesVpcConfig": {"subnetIds": self.subnets},
            **given,
        }
        made: dict[str, Any] = self.eks.create_cluster(**wanted)["cluster"]
        return made

    def record(self, name: str = "dev") -> Cluster:
        """A cluster as it is stored."""
        rows = self.realm.view.rows(CLUSTERS)
        return next(entry.value for entry in rows.scan() if entry.value.name == name)

    def settle(self) -> None:
        """What the lifecycle does, without any API: up comes up, DELETING goes."""
        writes: list[Put | Delete] = []
        for entry in self.realm.view.rows(CLUSTERS).scan():
            one = entry.value
            if one.status == "DELETING":
                writes.append(Delete(entry.key))
            elif one.status != "ACTIVE":
                up = msgspec.structs.replace(
                    one, status="ACTIVE", update="", port=one.port or 6444, authority="CA\n",
                    issuer="https://127.0.0.1:6444",
                )  # fmt: skip
                writes.append(Put(entry.key, encode(up)))
        for row in self.realm.view.rows(UPDATES).scan():
            done = msgspec.structs.replace(row.value, status="Successful")
            writes.append(Put(row.key, encode(done)))
        self.commit(Transaction((), tuple(writes)))

    def close(self) -> None:
        self.realm.close()


def eks_of(realm: Realm) -> Eks:
    """The slice's desk."""
    return Eks(realm.store, realm.view, realm.chance.child("eks"), "127.0.0.1", FIRST_RANGE)
