"""One logical Kubernetes cluster: its API, its token issuer, what it says of itself.

``kube_bow`` keeps one for every cluster that is up. The first one's keys lie in files, those of
every other in the store, sealed (``kube_keys``). Kinds and schemas are shared by all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from ipaddress import IPv4Network
from typing import Any

from msgspec import structs

from proa.base.errors import TryAgain
from proa.base.http import Request, Response
from proa.kube.api import bootstrap
from proa.kube.api.authn import ForeignTokens, nobodys_tokens
from proa.kube.api.call import Call
from proa.kube.api.context import Api, ClusterInfo
from proa.kube.api.node_link import NodeLink
from proa.kube.api.server import KubeApi
from proa.kube.api.tokens import TokenIssuer
from proa.kube.compile.sources import TokenRequest
from proa.kube.keys import object_key
from proa.kube.nodes import Heartbeats
from proa.kube.objects import Object
from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.kinds import Kinds, Resource, load_kinds
from proa.kube.schema.openapi import OpenAPI
from proa.kube.tables import SERVICE_ACCOUNTS
from proa.reconcile.view import Entry
from proa.server.core import Core

API_OFFSET, DNS_OFFSET = 1, 10  # where the API and the name server are in the service range
LEASES = ("coordination.k8s.io", "leases")
NODES = ("", "nodes")
API_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(slots=True, frozen=True)
class KubeSecrets:
    """What of a cluster's public key infrastructure the API itself needs."""

    ca_pem: str
    token_key_pem: bytes


class Shared:
    """What all clusters have in common: the built-in kinds, their documents, the link to nodes,
    and what something acts on."""

    def __init__(
        self,
        schemas: SchemaCache,
        link: NodeLink,
        acted_on: frozenset[tuple[str, str]],
        heartbeats: Heartbeats,
    ) -> None:
        self._schemas, self.link, self.acted_on = schemas, link, acted_on
        self._heartbeats = heartbeats
        self.kinds: Kinds = load_kinds(schemas)

    def rendered(self, resource: Resource, entry: Entry[Object]) -> Entry[Object]:
        """Nodes and their Leases show the signs of life that are kept in memory."""
        if resource.group_name == LEASES:
            return self._heartbeats.rendered(entry)
        if resource.group_name == NODES:
            return self._heartbeats.rendered_node(entry)
        return entry

    @cached_property
    def openapi(self) -> OpenAPI:
        """The schema documents, made when somebody first asks for one."""
        return OpenAPI(self.kinds, self._schemas)


class KubeCluster:
    """The API of one cluster; ``handle`` answers requests, ``perform`` calls in process."""

    def __init__(
        self,
        core: Core,
        info: ClusterInfo,
        secrets: KubeSecrets,
        shared: Shared,
        tokens: ForeignTokens = nobodys_tokens,
    ) -> None:
        self.info, self.ca_pem = info, secrets.ca_pem
        self._core, self._shared = core, shared
        self._secrets, self._tokens = secrets, tokens
        self._issuer = TokenIssuer(secrets.token_key_pem, info.issuer)
        api = Api(
            core.store,
            core.view,
            info,
            shared.kinds,
            core.clock,
            core.chance.child(f"kube-api {info.uid}"),
            shared.acted_on,
            shared.rendered,
        )
        self.api = KubeApi(api, self._issuer, lambda: shared.openapi, shared.link, tokens)
        self._below = "/" + info.issuer.partition("://")[2].partition("/")[2]

    def of_version(self, version: str) -> KubeCluster:
        """The same cluster, saying that it is of another version."""
        info = replace(self.info, version=version)
        return KubeCluster(self._core, info, self._secrets, self._shared, self._tokens)

    @property
    def service_ip(self) -> str:
        """Where the cluster's pods find its API."""
        return nth(self.info.service_cidr, API_OFFSET)

    @property
    def dns(self) -> str:
        """Where the cluster's name server answers."""
        return nth(self.info.service_cidr, DNS_OFFSET)

    @property
    def port(self) -> int:
        """Where the API listens."""
        return int(self.info.address.rpartition(":")[2])

    def handle(self, request: Request) -> Awaitable[Response]:
        """Answer one request; the issuer's documents are also below the issuer's own path."""
        if len(self._below) > 1 and request.path.startswith(self._below + "/"):
            request = structs.replace(request, path=request.path[len(self._below) :])
        return self.api.handle(request)

    async def prepare(self) -> None:
        """The objects that every cluster starts with."""
        for body in bootstrap.objects(self.info, self._core.clock.now()):
            group, _, version = body["apiVersion"].rpartition("/")
            resource = self._shared.kinds.by_kind(group, version, body["kind"])
            assert resource is not None, f"{body['kind']} is built in"
            metadata = body["metadata"]
            call = Call(
                self.info.uid,
                "create",
                group,
                resource.name,
                metadata.get("namespace", ""),
                metadata["name"],
                body=body,
                existing_ok=True,
            )
            await self.api.perform(call)

    def jwks(self) -> dict[str, Any]:
        """The public keys that service account tokens are signed with."""
        return self._issuer.jwks()

    def mint(self, request: TokenRequest) -> str:
        """A service account token bound to a pod. Raises TryAgain before there is the account."""
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
            audiences=[request.audience] if request.audience else [self.info.issuer],
            expires_s=request.expiration_s,
            now=self._core.clock.now(),
            pod=(request.pod, request.pod_uid),
            node=request.node,
            id=self._core.chance.uid(),
        )
        return token


def server_addresses(service_cidr: str, listen: str) -> Sequence[str]:
    """The addresses that the certificate of a cluster's API is for."""
    names = {"127.0.0.1", listen, nth(service_cidr, API_OFFSET)}
    return sorted(names - {"0.0.0.0"})


@lru_cache(maxsize=1024)
def nth(cidr: str, offset: int) -> str:
    """The address ``offset`` places after the network's own."""
    return str(IPv4Network(cidr).network_address + offset)
