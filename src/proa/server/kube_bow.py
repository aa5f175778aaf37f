"""The Kubernetes bow put together: every cluster's API, the controllers of all, their place in
the hull.

The first cluster, ``default``, is there from the start; the others are records of EKS, which
``eks_lifecycle`` raises and lowers here. Calls in process are routed by the cluster they name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proa.aws.eks.bootstrap import Home, bootstrap
from proa.aws.eks.records import CLUSTERS, DEFAULT, Cluster, cluster_of_uid
from proa.aws.eks.versions import patch_of
from proa.base.errors import TryAgain
from proa.base.http import Request, Response
from proa.cloud import compute
from proa.kube.api.call import Call
from proa.kube.api.context import ClusterInfo
from proa.kube.api.node_link import NodeLink
from proa.kube.compile.sources import TokenRequest
from proa.kube.controllers.cluster import ApiPlace
from proa.kube.controllers.contents import controllers
from proa.kube.controllers.steps import Children, performers
from proa.kube.hull import KubeSkin, Links
from proa.kube.nodes import Heartbeats
from proa.kube.pki import ClusterKeys
from proa.kube.schema.cache import SchemaCache
from proa.kube.tables import OBJECTS, PREFIX
from proa.reconcile.controller import Controller
from proa.server.core import Core, local_name
from proa.server.eks_tokens import EksTokens
from proa.server.kube_cluster import DNS_OFFSET, KubeCluster, KubeSecrets, Shared, nth
from proa.server.node_beats import NodeBeats
from proa.server.offers import ClusterOffer

VPC_DNS_OFFSET = 2  # AmazonProvidedDNS
# What something acts on; writes of other kinds are answered with a warning.
ACTED_ON = frozenset(
    {
        ("", "pods"),
        ("", "services"),
        ("", "endpoints"),
        ("", "namespaces"),
        ("", "nodes"),
        ("", "configmaps"),
        ("", "secrets"),
        ("", "serviceaccounts"),
        ("", "events"),
        ("apps", "controllerrevisions"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("batch", "cronjobs"),
        ("batch", "jobs"),
        ("coordination.k8s.io", "leases"),
        ("discovery.k8s.io", "endpointslices"),
        ("node.k8s.io", "runtimeclasses"),
        ("policy", "poddisruptionbudgets"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("scheduling.k8s.io", "priorityclasses"),
    }
)


@dataclass(slots=True, frozen=True)
class KubeParts:
    """What the bow is made of besides the core: the first cluster's keys, the definitions, the
    link to nodes, and who knows IAM's callers."""

    secrets: KubeSecrets
    schemas: SchemaCache
    link: NodeLink
    tokens: EksTokens


class Kube:
    """Everything of this bow."""

    def __init__(self, core: Core, parts: KubeParts) -> None:
        self._core, self._tokens = core, parts.tokens
        self._heartbeats = Heartbeats(core.clock)
        self._shared = Shared(parts.schemas, parts.link, ACTED_ON, self._heartbeats)
        config = core.config
        address = f"{config.listen}:{config.kube_port}"
        info = ClusterInfo(
            DEFAULT,
            DEFAULT,
            config.kube_version,
            config.service_cidr,
            address,
            f"https://{address}",
        )
        self._going: dict[str, None] = {}  # clusters that are being deleted
        self.clusters = {DEFAULT: self._made(info, parts.secrets)}
        self.beats = NodeBeats(core, self._heartbeats, self.up)
        self.skin = KubeSkin(
            Links(
                core.store,
                core.clock,
                core.chance.child("pods"),
                self.perform,
                self._mint,
                self._dns,
                self._range,
                self._port,
                guest_dns=self._guest_dns,
            )
        )

    def _made(self, info: ClusterInfo, secrets: KubeSecrets) -> KubeCluster:
        tokens = self._tokens.of(info.uid)
        return KubeCluster(self._core, info, secrets, self._shared, tokens)

    @property
    def first(self) -> KubeCluster:
        """The cluster that every Proa starts with."""
        return self.clusters[DEFAULT]

    # Clusters

    def add(self, record: Cluster, keys: ClusterKeys, port: int) -> KubeCluster:
        """A cluster beside the first, in the state of its record; the one that is there if it
        is."""
        there = self.clusters.get(record.uid)
        if there is not None:
            return there
        config = self._core.config
        info = ClusterInfo(
            record.uid,
            record.name,
            patch_of(record.version),
            record.service_cidr,
            f"{config.listen}:{port}",
            record.issuer
            or f"https://{local_name(config.listen)}:{port}/id/{issuer_id(record.uid)}",
        )
        secrets = KubeSecrets(keys.ca_pem.decode(), keys.token_key_pem)
        made = self.clusters[record.uid] = self._made(info, secrets)
        return made

    def retell(self, uid: str, version: str) -> None:
        """The cluster is of this version from now on ("1.36.2")."""
        self.clusters[uid] = self.clusters[uid].of_version(version)

    def end(self, uid: str) -> None:
        """The cluster is on its way out: nodes give no more signs of life."""
        self._going[uid] = None

    def remove(self, uid: str) -> None:
        """Nothing is left of the cluster."""
        self.clusters.pop(uid, None)
        self._going.pop(uid, None)

    def issuer_keys(self, issuer: str) -> Mapping[str, Any] | None:
        """The keys that tokens of an issuer are signed with, if it is a cluster's of ours."""
        for cluster in self.clusters.values():
            if cluster.info.issuer == issuer:
                return cluster.jwks()
        return None

    def handler_of(self, uid: str) -> Callable[[Request], Awaitable[Response]]:
        """What answers a cluster's requests, whatever becomes of it."""

        def handle(request: Request) -> Awaitable[Response]:
            cluster = self.clusters.get(uid)
            return _not_up() if cluster is None else cluster.handle(request)

        return handle

    def handle(self, request: Request) -> Awaitable[Response]:
        """Answer a request to the first cluster."""
        return self.first.handle(request)

    async def prepare(self) -> None:
        """The first cluster's record and the objects it starts with."""
        core, first = self._core, self.first
        config = core.config
        home = Home(
            config.account,
            config.region,
            config.kube_version.rpartition(".")[0],
            config.service_cidr,
            config.kube_port,
            first.info.issuer,
            first.ca_pem,
        )
        write = bootstrap(core.view, home, core.clock.now())
        if write is not None:
            await core.view.reached((await core.store.commit(write)).version)
        await first.prepare()

    def offers(self) -> tuple[ClusterOffer, ...]:
        """The clusters that every Host offers an Instance to."""
        return tuple(
            offer_to(entry.value)
            for entry in self._core.view.rows(CLUSTERS).scan()
            if self.up(entry.value.uid)
        )

    # What controllers and the skin ask

    def controllers(self) -> list[Controller]:
        """Every controller of this bow."""
        chance = self._core.chance.child("controllers")
        return controllers(chance, self._ca, self._place, self._heartbeats)

    def performers(self) -> dict[type, Callable[[Any], Awaitable[int]]]:
        """Who carries out this bow's steps."""
        return performers(self.perform, self.create, self.perform_all, self._core.view.reached)

    async def perform(self, call: Call) -> int:
        """Carry out a call in process; the version that the view must reach."""
        return await self._cluster(call.cluster).api.perform(call)

    async def perform_all(self, calls: Sequence[Call]) -> int:
        """Carry out calls to one cluster together; see ``perform``."""
        return await self._cluster(calls[0].cluster).api.perform_all(calls) if calls else 0

    async def create(self, children: Children, then: Sequence[Call]) -> int:
        """Create objects of one cluster together; see ``perform``."""
        return await self._cluster(children[0][0].cluster).api.create_all(children, then)

    def _cluster(self, uid: str) -> KubeCluster:
        found = self.clusters.get(uid)
        if found is None:
            raise TryAgain(f"cluster {uid} is not up")
        return found

    def _ca(self, uid: str) -> str:
        return self._cluster(uid).ca_pem

    def _place(self, uid: str) -> ApiPlace | None:
        """Pods find the API at the shared Instance's address on this machine."""
        cluster = self.clusters.get(uid)
        if cluster is None or uid in self._going:
            return None
        addresses = self.addresses(uid)
        address = addresses[0] if addresses else self._core.config.listen
        others = [one.port for one in self.clusters.values()]
        config = self._core.config
        own_ports = (*others, config.aws_port, config.registry_port)
        return ApiPlace(cluster.service_ip, address, cluster.port, own_ports)

    def addresses(self, uid: str) -> list[str]:
        """Where this machine is reached by the pods of a cluster."""
        instances = compute.real_instances_of(self._core.view, f"{PREFIX}{uid}/")
        return [one.address for one in instances if one.shared and one.address]

    def agent_of(self, node: str) -> str:
        """The socket of the agent of a node, "" for this machine's agent's."""
        rows = self._core.view.rows(compute.INSTANCES)
        for uid in self.clusters:
            for entry in rows.by("name", f"{PREFIX}{uid}/{node}"):
                host = self._core.view.rows(compute.HOSTS).get(compute.host_key(entry.value.host))
                if host is not None and host.value.agent:
                    return host.value.agent
        return ""

    def _range(self, uid: str) -> str:
        cluster = cluster_of_uid(self._core.view, uid)
        return cluster.service_cidr if cluster else self._core.config.service_cidr

    def _port(self, uid: str) -> int:
        cluster = self.clusters.get(uid)
        return cluster.port if cluster else 0

    def _dns(self, uid: str) -> str:
        return nth(self._range(uid), DNS_OFFSET)

    def _guest_dns(self, uid: str) -> tuple[str, ...]:
        """The default VPC's resolver gives the first cluster's names to tasks."""
        own = uid == self.first.info.uid
        return (nth(self._core.config.vpc_cidr, VPC_DNS_OFFSET),) if own else ()

    def _mint(self, request: TokenRequest) -> str:
        return self._cluster(request.cluster).mint(request)

    def named(self, name: str) -> ClusterOffer | None:
        """What is offered to the cluster of a name ("eks/NAME"), if there is one that is up."""
        rows = self._core.view.rows(CLUSTERS).scan()
        offers = (offer_to(row.value) for row in rows if self.up(row.value.uid))
        return next((offer for offer in offers if offer.name == name), None)

    def up(self, uid: str) -> KubeCluster | None:
        """A cluster that is there to stay."""
        return None if uid in self._going else self.clusters.get(uid)

    def inert(self) -> dict[str, int]:
        """How many objects of each kind are stored without anything acting on them."""
        counts: dict[str, int] = {}
        for entry in self._core.view.rows(OBJECTS).scan(PREFIX):
            parts = entry.key.split("/", 6)
            group = "" if parts[3] == "core" else parts[3]
            if (group, parts[4]) not in ACTED_ON:
                kind = entry.value.kind
                counts[kind] = counts.get(kind, 0) + 1
        return dict(sorted(counts.items()))


async def _not_up() -> Response:
    return Response(503, b"the cluster is not up\n")


def offer_to(cluster: Cluster) -> ClusterOffer:
    """What each Host offers to a cluster."""
    prefix = f"{PREFIX}{cluster.uid}/"
    return ClusterOffer(prefix, cluster.subnets, cluster.region, f"eks/{cluster.name}")


def issuer_id(uid: str) -> str:
    """The last part of a cluster's issuer, as EKS has it: 32 hexadecimal digits."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32].upper()
