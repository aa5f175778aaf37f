"""In-process API requests: how controllers, the node's reports and the scheduler change objects.

A ``Call`` goes through the same authentication-independent path as a request from outside:
authorisation as ``user``, admission, defaulting, validation, storage. The runner performs the
Calls of a controller's Plan in order.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from proa.base.errors import CallerFault, Conflict

SYSTEM = "system:masters"


class Call(Struct, frozen=True):
    """One request. ``verb``: get, create, update, patch, delete. ``body`` is a JSON object
    (for patch, a merge patch unless ``patch_type`` says otherwise). ``version`` makes update,
    patch and delete conditional on the object's resourceVersion, ``uid`` on its identity.
    A missing object on delete is no error when ``missing_ok``; neither is an existing one on
    create when ``existing_ok``."""

    cluster: str
    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    patch_type: str = "application/merge-patch+json"
    version: int = 0
    uid: str = ""
    grace_s: int | None = None
    propagation: str = ""  # Background, Foreground, Orphan
    user: str = SYSTEM  # "system:serviceaccount:kube-system:deployment-controller"
    missing_ok: bool = False
    existing_ok: bool = False


class ApiError(CallerFault):
    """A Kubernetes Status failure: ``reason`` is metav1.StatusReason, ``code`` the HTTP status."""

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details
        self.metadata: dict[str, Any] = {}  # of the Status: a continue token


class ApiConflict(ApiError, Conflict):
    """409 Conflict: the object has been modified; read it again and decide again."""

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        ApiError.__init__(self, 409, "Conflict", message, details)
