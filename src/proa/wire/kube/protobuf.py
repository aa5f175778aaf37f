"""Kubernetes' protobuf bodies, decoded into the JSON form (kube.api reads request bodies by it)."""

from __future__ import annotations

from typing import Any

MAGIC = b"k8s\x00"


def decode(body: bytes) -> dict[str, Any]:
    """The object in a ``k8s\\0`` + runtime.Unknown frame, in its JSON form; raises ValueError."""
    raise NotImplementedError
