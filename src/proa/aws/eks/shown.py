"""Records as EKS describes them."""

from __future__ import annotations

import base64
from typing import Any

from proa.aws.eks.records import AccessEntry, Association, Cluster, Update
from proa.aws.eks.versions import VERSIONS
from proa.aws.gateway.service import Output

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")


def cluster(one: Cluster, host: str) -> Output:
    """A cluster; endpoint, authority and issuer are there once its API is."""
    answer: Output = {
        "name": one.name,
        "arn": one.arn,
        "createdAt": one.created_at,
        "version": one.version,
        "roleArn": one.role,
        "resourcesVpcConfig": _vpc(one),
        "kubernetesNetworkConfig": {
            "serviceIpv4Cidr": one.service_cidr,
            "ipFamily": "ipv4",
            "elasticLoadBalancing": {"enabled": False},
        },
        "logging": {"clusterLogging": _logging(one)},
        "status": one.status,
        "certificateAuthority": {},
        "platformVersion": VERSIONS[one.version].platform,
        "tags": one.tags,
        "health": {"issues": []},
        "accessConfig": {
            "authenticationMode": one.authentication,
            "bootstrapClusterCreatorAdminPermissions": one.creator_is_admin,
        },
        "upgradePolicy": {"supportType": one.support},
        "deletionProtection": one.protected,
    }
    if one.token:
        answer["clientRequestToken"] = one.token
    if one.encryption:
        answer["encryptionConfig"] = list(one.encryption)
    if one.zonal_shift:
        answer["zonalShiftConfig"] = {"enabled": True}
    if one.port and one.authority:
        answer["endpoint"] = f"https://{host}:{one.port}"
        answer["identity"] = {"oidc": {"issuer": one.issuer}}
        data = base64.b64encode(one.authority.encode()).decode()
        answer["certificateAuthority"] = {"data": data}
    return answer


def _vpc(one: Cluster) -> Output:
    return {
        "subnetIds": list(one.subnets),
        "securityGroupIds": list(one.security_groups),
        **({"clusterSecurityGroupId": one.own_group} if one.own_group else {}),
        "vpcId": one.vpc,
        "endpointPublicAccess": one.public_access,
        "endpointPrivateAccess": one.private_access,
        "publicAccessCidrs": list(one.public_cidrs) if one.public_access else [],
    }


def _logging(one: Cluster) -> list[dict[str, Any]]:
    off = [kind for kind in LOG_TYPES if kind not in one.logging]
    shown: list[dict[str, Any]] = []
    if one.logging:
        shown.append({"types": list(one.logging), "enabled": True})
    if off:
        shown.append({"types": off, "enabled": False})
    return shown


def entry(one: AccessEntry) -> Output:
    """An access entry."""
    return {
        "clusterName": one.cluster,
        "principalArn": one.principal,
        "kubernetesGroups": list(one.groups),
        "accessEntryArn": one.arn,
        "createdAt": one.created_at,
        "modifiedAt": one.modified_at,
        "tags": one.tags,
        "username": one.username,
        "type": one.type,
    }


def association(one: Association) -> Output:
    """An access policy and where it holds."""
    kind = "namespace" if one.namespaces else "cluster"
    return {
        "policyArn": one.policy,
        "accessScope": {"type": kind, "namespaces": list(one.namespaces)},
        "associatedAt": one.associated_at,
        "modifiedAt": one.modified_at,
    }


def update(one: Update) -> Output:
    """An update of a cluster."""
    return {
        "id": one.id,
        "status": one.status,
        "type": one.type,
        "params": [{"type": kind, "value": value} for kind, value in one.params],
        "createdAt": one.created_at,
        "errors": [],
    }
