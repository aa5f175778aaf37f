"""What is stored of EKS below ``/aws/<account>/<region>/eks/``, and the tables that views keep.

A ``Cluster`` is desired state and status in one: the operations write what is wanted, the
lifecycle of ``server`` brings the Kubernetes API up or down and moves ``status`` on. Objects of
the cluster lie elsewhere, below ``/kube/<uid>/``; ``uid`` is never used again for another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from proa.cloud.aws_table import aws_table
from proa.reconcile.view import Table, View

R = TypeVar("R", bound=msgspec.Struct)
DEFAULT = "default"  # name and uid of the cluster that every Proa starts with
encode = msgspec.json.Encoder().encode


class Cluster(msgspec.Struct, frozen=True, omit_defaults=True):
    """One EKS cluster. ``port`` is 0 until its API has been given one, ``authority`` (its
    certificate authority, PEM) empty until it has been made. ``creator`` is the canonical ARN of
    who made it; ``update`` the update under way while the status is UPDATING."""

    account: str
    region: str
    name: str
    uid: str
    version: str  # "1.36"
    role: str
    vpc: str
    subnets: tuple[str, ...]
    service_cidr: str
    created_at: float
    status: str = "CREATING"  # ACTIVE, UPDATING, DELETING
    port: int = 0
    issuer: str = ""
    authority: str = ""
    creator: str = ""
    creator_is_admin: bool = True
    authentication: str = "CONFIG_MAP"  # API_AND_CONFIG_MAP, API
    security_groups: tuple[str, ...] = ()
    own_group: str = ""  # the cluster security group
    public_access: bool = True
    private_access: bool = False
    public_cidrs: tuple[str, ...] = ("0.0.0.0/0",)
    logging: tuple[str, ...] = ()  # the enabled types
    encryption: tuple[dict[str, Any], ...] = ()
    support: str = "EXTENDED"
    zonal_shift: bool = False
    protected: bool = False
    tags: dict[str, str] = {}
    token: str = ""
    update: str = ""

    @property
    def key(self) -> str:
        return cluster_key(self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        return f"arn:aws:eks:{self.region}:{self.account}:cluster/{self.name}"


class Association(msgspec.Struct, frozen=True):
    """An access policy of an entry. ``namespaces`` are patterns; none: the whole cluster."""

    policy: str
    namespaces: tuple[str, ...]
    associated_at: float
    modified_at: float


class AccessEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An IAM principal that may enter a cluster."""

    account: str
    region: str
    cluster: str
    principal: str
    id: str
    created_at: float
    modified_at: float
    type: str = "STANDARD"
    username: str = ""
    groups: tuple[str, ...] = ()
    policies: tuple[Association, ...] = ()
    tags: dict[str, str] = {}

    @property
    def key(self) -> str:
        return entry_key(self.account, self.region, self.cluster, self.principal)

    @property
    def arn(self) -> str:
        """access-entry/<cluster>/<user|role|root>/<account>/<name>/<id>."""
        parts = self.principal.split(":", 5)
        kind, _, name = parts[5].partition("/")
        where = f"{kind}/{parts[4]}/{name.rpartition('/')[2] or kind}"
        place = f"arn:aws:eks:{self.region}:{self.account}"
        return f"{place}:access-entry/{self.cluster}/{where}/{self.id}"


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of a cluster. ``params`` are (type, value)."""

    account: str
    region: str
    cluster: str
    id: str
    type: str
    created_at: float
    params: tuple[tuple[str, str], ...] = ()
    status: str = "InProgress"
    token: str = ""

    @property
    def key(self) -> str:
        return update_key(self.account, self.region, self.cluster, self.id)


def base_key(account: str, region: str) -> str:
    """The prefix of everything EKS keeps for one account and region."""
    return f"/aws/{account}/{region}/eks/"


def cluster_key(account: str, region: str, name: str) -> str:
    return f"{base_key(account, region)}cluster/{name}"


def entry_key(account: str, region: str, cluster: str, principal: str) -> str:
    """ARNs hold slashes, so the key carries their digest."""
    digest = hashlib.sha256(principal.encode()).hexdigest()[:32]
    return f"{entry_prefix(account, region, cluster)}{digest}"


def entry_prefix(account: str, region: str, cluster: str) -> str:
    """Where a cluster's access entries lie."""
    return f"{base_key(account, region)}access-entry/{cluster}/"


def update_key(account: str, region: str, cluster: str, id: str) -> str:
    return f"{update_prefix(account, region, cluster)}{id}"


def update_prefix(account: str, region: str, cluster: str) -> str:
    """Where a cluster's updates lie."""
    return f"{base_key(account, region)}update/{cluster}/"


Indexes = Mapping[str, Callable[[str, Any], tuple[str, ...]]]


def _table(kind: str, type_: type[R], indexes: Indexes) -> Table[R]:
    decoder = msgspec.json.Decoder(type_)
    return aws_table(f"eks-{kind}", ("eks", kind), decoder.decode, indexes)


CLUSTERS: Table[Cluster] = _table(
    "cluster",
    Cluster,
    {"uid": lambda _key, one: (one.uid,), "vpc": lambda _key, one: (one.vpc,)},
)
ENTRIES: Table[AccessEntry] = _table("access-entry", AccessEntry, {})
UPDATES: Table[Update] = _table("update", Update, {})
TABLES: tuple[Table[Any], ...] = (CLUSTERS, ENTRIES, UPDATES)


def cluster_of_uid(view: View, uid: str) -> Cluster | None:
    """The cluster whose objects lie below ``/kube/<uid>/``."""
    return next((entry.value for entry in view.rows(CLUSTERS).by("uid", uid)), None)
