"""The Kubernetes bow put together: one cluster's API, its controllers, its place in the hull."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from proa.base.errors import CallerFault, Conflict, TryAgain
from proa.base.http import Request, Response
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.kube.api import bootstrap
from proa.kube.api.call import Call
from proa.kube.api.context import Api, ClusterInfo
from proa.kube.api.node_link import NodeLink
from proa.kube.api.server import KubeApi
from proa.kube.api.tokens import TokenIssuer
from proa.kube.compile.sources import TokenRequest
from proa.kube.controllers.cluster import ApiPlace
from proa.kube.controllers.contents import controllers
from proa.kube.controllers.steps import performers
from proa.kube.hull import KubeSkin, Links
from proa.kube.keys import object_key
from proa.kube.nodes import heartbeat
from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.kinds import load_kinds
from proa.kube.schema.openapi import OpenAPI
from proa.kube.tables import OBJECTS, SERVICE_ACCOUNTS
from proa.model.host import Host, Instance
from proa.reconcile.controller import Controller
from proa.server.core import Core

log = get_logger(__name__)
CLUSTER_UID = "default"
API_SERVICE_OFFSET, DNS_OFFSET = 1, 10
ATTEMPTS = 5
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
        ("apps", "deployments"),
        ("apps", "replicasets"),
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
class KubeSecrets:
    """What of a cluster's public key infrastructure the API itself needs."""

    ca_pem: str
    token_key_pem: bytes


class Kube:
    """Everything of this bow."""

    def __init__(
        self, core: Core, secrets: KubeSecrets, schemas: SchemaCache, link: NodeLink
    ) -> None:
        config = core.config
        self._core, self._ca = core, secrets.ca_pem
        address = f"{config.listen}:{config.kube_port}"
        issuer_url = f"https://{address}"
        self.cluster = ClusterInfo(
            CLUSTER_UID,
            "default",
            config.kube_version,
            config.service_cidr,
            address,
            issuer_url,
        )
        self._issuer = TokenIssuer(secrets.token_key_pem, issuer_url)
        kinds = load_kinds(schemas)
        api = Api(
            core.store,
            core.view,
            self.cluster,
            kinds,
            core.clock,
            core.chance.child("kube-api"),
            ACTED_ON,
        )
        self.api = KubeApi(api, self._issuer, lambda: OpenAPI(kinds, schemas), link)
        self.skin = KubeSkin(
            Links(
                core.clock,
                core.chance.child("pods"),
                self.api.perform,
                self._mint,
                lambda _cluster: _nth(config.service_cidr, DNS_OFFSET),
            )
        )

    @property
    def local_cluster(self) -> str:
        """The cluster that every Host offers an Instance to."""
        return f"/kube/{CLUSTER_UID}/"

    def controllers(self) -> list[Controller]:
        """Every controller of this bow."""
        config = self._core.config
        service_ip = _nth(config.service_cidr, API_SERVICE_OFFSET)
        return controllers(
            self._core.chance.child("controllers"),
            lambda _cluster: self._ca,
            lambda _cluster: ApiPlace(service_ip, self._api_address(), config.kube_port),
        )

    def _api_address(self) -> str:
        """Where pods find the API: the shared Instance's address on this machine."""
        for entry in self._core.view.rows(compute.INSTANCES).by("cluster", self.local_cluster):
            return entry.value.address
        return self._core.config.listen

    def performers(self) -> dict[type, Callable[[Any], Awaitable[int]]]:
        """Who carries out this bow's steps."""
        return performers(self.api.perform)

    async def prepare(self) -> None:
        """The objects that every cluster starts with."""
        for body in bootstrap.objects(self.cluster, self._core.clock.now()):
            group, _, version = body["apiVersion"].rpartition("/")
            resource = self.api.api.kinds.by_kind(group, version, body["kind"])
            assert resource is not None, f"{body['kind']} is built in"
            metadata = body["metadata"]
            call = Call(
                CLUSTER_UID,
                "create",
                group,
                resource.name,
                metadata.get("namespace", ""),
                metadata["name"],
                body=body,
                existing_ok=True,
            )
            await self.api.perform(call)

    async def alive(self, instance: Instance, host: Host) -> None:
        """An Instance of a cluster of ours gives a sign of life."""
        if not instance.cluster.startswith("/kube/"):
            return
        for _ in range(ATTEMPTS):  # the first sign makes the Node, the next its status
            now, version = self._core.clock.now(), self.cluster.version
            calls = heartbeat(self._core.view, instance, host, now, version)
            try:
                for call in calls:
                    await self.api.perform(call)
            except Conflict:
                continue  # somebody else changed the Node: look again
            except CallerFault as error:
                log.warning("heartbeat not taken", node=instance.name, why=str(error))
                return
            if calls and calls[0].verb != "create":
                return

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        return await self.api.handle(request)

    def inert(self) -> dict[str, int]:
        """How many objects of each kind are stored without anything acting on them."""
        counts: dict[str, int] = {}
        for entry in self._core.view.rows(OBJECTS).scan(f"/kube/{CLUSTER_UID}/"):
            parts = entry.key.split("/", 6)
            group = "" if parts[3] == "core" else parts[3]
            if (group, parts[4]) not in ACTED_ON:
                kind = entry.value.kind
                counts[kind] = counts.get(kind, 0) + 1
        return dict(sorted(counts.items()))

    def _mint(self, request: TokenRequest) -> str:
        """A service account token bound to a pod."""
        key = object_key(
            request.cluster, "", "serviceaccounts", request.namespace, request.service_account
        )
        account = self._core.view.rows(SERVICE_ACCOUNTS).get(key)
        if account is None:
            raise TryAgain(f"no service account {request.namespace}/{request.service_account}")
        token, _ = self._issuer.mint(
            request.namespace,
            request.service_account,
            account.value.metadata.uid,
            audiences=[request.audience] if request.audience else [self.cluster.issuer],
            expires_s=request.expiration_s,
            now=self._core.clock.now(),
            pod=(request.pod, request.pod_uid),
            node=request.node,
            id=self._core.chance.uid(),
        )
        return token


def _nth(cidr: str, offset: int) -> str:
    return str(IPv4Network(cidr).network_address + offset)
