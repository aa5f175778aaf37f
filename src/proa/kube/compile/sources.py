"""What a pod's compilation may look up, and how it says what is missing.

The hull's port fills a ``Sources`` from the view; tokens are minted by the API at the last
moment, through a callable that should answer the same request with the same token while that is
still good, or the pod's token file changes with every compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from proa.kube.objects import Service

Json = Mapping[str, Any]


class Missing(Exception):
    """Something the pod refers to is not there (yet); the text is the kubelet's."""


class TokenRequest(Struct, frozen=True):
    """A service account token bound to a pod."""

    cluster: str
    namespace: str
    service_account: str
    audience: str  # empty: the API server's own
    expiration_s: int
    pod: str
    pod_uid: str
    node: str


def _nothing(_name: str) -> Json | None:
    return None


def _no_token(request: TokenRequest) -> str:
    raise Missing(f"no tokens for service account {request.service_account}")


class Sources(Struct, frozen=True):
    """``config_maps`` and ``secrets`` give the stored object of a name in the pod's namespace,
    ``handlers`` the runtime handler of a RuntimeClass. ``services`` are the namespace's, for
    service variables; ``master`` is the API's own. ``address`` is the pod's, ``host_address`` its
    Instance's. ``allocatable`` is the node's."""

    config_maps: Callable[[str], Json | None] = _nothing
    secrets: Callable[[str], Json | None] = _nothing
    handlers: Callable[[str], str] = str
    tokens: Callable[[TokenRequest], str] = _no_token
    services: Sequence[Service] = ()
    master: Service | None = None
    address: str = ""
    mac: str = ""
    vpc: str = ""
    host_address: str = ""
    allocatable: Mapping[str, str | int | float] = field(default_factory=dict)
    cluster_dns: str = "10.100.0.10"
    cluster_domain: str = "cluster.local"
