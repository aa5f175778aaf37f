"""The EKS slice as the gateway sees it; ``OPERATIONS`` is its table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from proa.aws.eks import access, calendar, clusters, elsewhere, making, updates
from proa.aws.eks.desk import Eks
from proa.aws.gateway.desk import Handler, bound
from proa.aws.gateway.service import Service

OPERATIONS: Mapping[str, Handler[Eks]] = {
    "CreateCluster": making.create_cluster,
    "DescribeCluster": clusters.describe_cluster,
    "ListClusters": clusters.list_clusters,
    "DeleteCluster": clusters.delete_cluster,
    "UpdateClusterConfig": updates.update_cluster_config,
    "UpdateClusterVersion": updates.update_cluster_version,
    "DescribeUpdate": updates.describe_update,
    "ListUpdates": updates.list_updates,
    "DescribeClusterVersions": calendar.describe_cluster_versions,
    "TagResource": clusters.tag_resource,
    "UntagResource": clusters.untag_resource,
    "ListTagsForResource": clusters.list_tags_for_resource,
    "CreateAccessEntry": access.create_access_entry,
    "DescribeAccessEntry": access.describe_access_entry,
    "ListAccessEntries": access.list_access_entries,
    "UpdateAccessEntry": access.update_access_entry,
    "DeleteAccessEntry": access.delete_access_entry,
    "AssociateAccessPolicy": access.associate_access_policy,
    "DisassociateAccessPolicy": access.disassociate_access_policy,
    "ListAssociatedAccessPolicies": access.list_associated_access_policies,
    "ListAccessPolicies": access.list_access_policies,
}


def build(eks: Eks) -> Service:
    """Every operation, bound to what it works on."""
    return Service("eks", {**bound(eks, OPERATIONS), **elsewhere.operations(eks)})
