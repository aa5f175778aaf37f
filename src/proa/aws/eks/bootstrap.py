"""The cluster ``default``: there from the start, described like every other.

``server`` commits it once, when the home region's network is there. Its keys lie in files, its
port and service range are the configuration's, and it cannot be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from proa.aws.eks.records import CLUSTERS, DEFAULT, Cluster, cluster_key, encode
from proa.cloud.network import NetworkPlanner
from proa.reconcile.view import View
from proa.store.api import Guard, Put, Transaction

ROLE = "role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"


@dataclass(slots=True, frozen=True)
class Home:
    """What the configuration and the files say of the first cluster; ``version`` is minor."""

    account: str
    region: str
    version: str
    service_cidr: str
    port: int
    issuer: str
    authority: str


def bootstrap(view: View, home: Home, now: float) -> Transaction | None:
    """The write that makes the record fit; None where it does. It exists ever after."""
    key = cluster_key(home.account, home.region, DEFAULT)
    found = view.rows(CLUSTERS).get(key)
    known = found.value if found else _new(view, home, now)
    wanted = msgspec.structs.replace(
        known,
        version=home.version,
        service_cidr=home.service_cidr,
        port=home.port,
        issuer=home.issuer,
        authority=home.authority,
    )
    if found is not None and wanted == known:
        return None
    guard = Guard(key, found.version if found else 0)
    return Transaction((guard,), (Put(key, encode(wanted)),))


def _new(view: View, home: Home, now: float) -> Cluster:
    subnets = NetworkPlanner(view).default_subnets(home.account, home.region)
    return Cluster(
        account=home.account,
        region=home.region,
        name=DEFAULT,
        uid=DEFAULT,
        version=home.version,
        role=f"arn:aws:iam::{home.account}:{ROLE}",
        vpc=subnets[0].vpc if subnets else "",
        subnets=tuple(subnet.id for subnet in subnets),
        service_cidr=home.service_cidr,
        created_at=now,
        status="ACTIVE",
        creator=f"arn:aws:iam::{home.account}:root",
        authentication="API_AND_CONFIG_MAP",
    )
