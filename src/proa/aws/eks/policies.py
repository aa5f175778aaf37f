"""Access policies: what AWS lets an access entry do without a binding of RBAC's.

Each stands for a ClusterRole that every cluster has ("Review access policy permissions" of the
EKS user guide says which user-facing role each is like), or for rules of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ARN_PREFIX = "arn:aws:eks::aws:cluster-access-policy/"


@dataclass(slots=True, frozen=True)
class AccessPolicy:
    """``role`` is the ClusterRole it is like."""

    name: str
    role: str

    @property
    def arn(self) -> str:
        return ARN_PREFIX + self.name


CLUSTER_ADMIN = AccessPolicy("AmazonEKSClusterAdminPolicy", "cluster-admin")
POLICIES: Mapping[str, AccessPolicy] = {
    policy.arn: policy
    for policy in (
        AccessPolicy("AmazonEKSAdminPolicy", "admin"),
        CLUSTER_ADMIN,
        AccessPolicy("AmazonEKSEditPolicy", "edit"),
        AccessPolicy("AmazonEKSViewPolicy", "view"),
    )
}
