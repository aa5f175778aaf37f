"""What a service of the AWS bow looks like to the gateway.

Each slice (``aws/ecs``, ``aws/iam`` …) builds one ``Service``: a table from operation names, as
the service model spells them, to handlers. A handler takes the caller's ``Context`` and the
decoded, model-checked input (wire member names, timestamps as epoch seconds, blobs as bytes)
and returns the output the same way; the gateway encodes it by the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proa.base.errors import CallerFault

Input = dict[str, Any]
Output = dict[str, Any]


@dataclass(slots=True, frozen=True)
class Context:
    """Who calls, where, and when. ``now`` is wall seconds; ``source_ip`` is "" for callers
    without a connection."""

    account: str
    region: str
    principal_arn: str
    access_key: str
    request_id: str
    now: float
    source_ip: str = ""


class AwsError(CallerFault):
    """An error in the service's own vocabulary. ``code`` is the shape or error code as the
    model names it (``ClusterNotFoundException``); ``fields`` are further members of its shape."""

    def __init__(
        self, code: str, message: str, status: int = 0, fields: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status
        self.fields = dict(fields or {})


Operation = Callable[[Context, Input], Awaitable[Output]]


@dataclass(slots=True, frozen=True)
class Service:
    """``name`` is botocore's service name; a missing operation answers that it is not built."""

    name: str
    operations: Mapping[str, Operation]
    # Operations that a caller may use without credentials (sts AssumeRoleWithWebIdentity).
    anonymous: frozenset[str] = field(default_factory=frozenset)
