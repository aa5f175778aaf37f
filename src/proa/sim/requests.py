"""Requests as the real tools send them: signed with Signature Version 4, or with a certificate.

Whoever asks a control plane in its own process builds them here: the clients of scenarios, large
ones' askers, benchmarks.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.base.config import Config
from proa.base.http import Peer, Request
from proa.sim.world import admin_certificate
from proa.wire.sigv4 import Signer, sign

_ECS = "AmazonEC2ContainerServiceV20141113"


def ecs_request(
    config: Config, keys: tuple[str, str], now: float, operation: str, given: dict[str, Any]
) -> Request:
    """An operation of ECS with its input, signed with (access key, secret)."""
    headers = {
        "host": f"{config.listen}:{config.aws_port}",
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": f"{_ECS}.{operation}",
    }
    request = Request("POST", "/", headers=headers, body=orjson.dumps(given))
    return sign(request, Signer(*keys, config.region, "ecs"), now)


def kube_request(
    method: str, path: str, body: dict[str, Any] | None = None, content_type: str = ""
) -> Request:
    """A request to the Kubernetes API by a cluster administrator."""
    headers = {"content-type": content_type or "application/json"}
    sent = orjson.dumps(body) if body else b""
    peer = Peer("127.0.0.1", admin_certificate())
    return Request(method, path, headers=headers, body=sent, peer=peer)
