"""Who an IAM caller is to a cluster: by its access entries, by aws-auth, or as its creator.

``server`` asks once a presigned token has been verified. Rules: the EKS user guide ("Cluster
access management": entries win over the ConfigMap) and aws-iam-authenticator's README (the forms
of ``mapRoles``, ``mapUsers`` and ``mapAccounts``, and the templates of user names).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proa.aws.eks.policies import CLUSTER_ADMIN, POLICIES
from proa.aws.eks.records import ENTRIES, AccessEntry, Cluster, entry_key
from proa.reconcile.view import View

MASTERS = "system:masters"
ADMIN_NAME = "kubernetes-admin"
MAX_CONFIG_BYTES = 256 * 1024
_TEMPLATE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_UNSAFE = re.compile(r"[^a-zA-Z0-9_.-]")


@dataclass(slots=True, frozen=True)
class Principal:
    """A verified caller. ``canonical`` is the ARN without session and path."""

    account: str
    arn: str
    canonical: str
    user_id: str
    access_key: str
    session: str = ""


@dataclass(slots=True, frozen=True)
class Grant:
    """A ClusterRole that holds in namespaces matching the patterns; none: everywhere."""

    role: str
    namespaces: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Mapped:
    """Who a principal is: user name, groups, and what access policies grant."""

    username: str
    groups: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()


def mapped(
    view: View,
    cluster: Cluster,
    principal: Principal,
    aws_auth: Mapping[str, str],
    node_name: Callable[[str], str],
) -> Mapped | None:
    """Who the principal is to the cluster; None for nobody. ``aws_auth`` is the data of the
    ConfigMap kube-system/aws-auth, ``node_name`` gives the private DNS name of an instance id
    ("" for none)."""
    if principal.canonical == f"arn:aws:iam::{cluster.account}:root":
        return Mapped(ADMIN_NAME, (MASTERS,))
    if cluster.authentication != "CONFIG_MAP":
        found = _entry(view, cluster, principal.canonical)
        if found is not None:
            return _of_entry(found, principal, node_name)
    if cluster.authentication == "API":
        return None
    if cluster.authentication == "CONFIG_MAP" and _same(
        principal.canonical, pathless(cluster.creator)
    ):
        return Mapped(ADMIN_NAME, (MASTERS,))
    return _of_config(aws_auth, principal, node_name)


def _entry(view: View, cluster: Cluster, canonical: str) -> AccessEntry | None:
    """Entries name principals with their paths; a session's ARN has lost its role's."""
    place = (cluster.account, cluster.region, cluster.name)
    exact = view.rows(ENTRIES).get(entry_key(*place, canonical))
    if exact is not None:
        return exact.value
    prefix = entry_key(*place, "").rpartition("/")[0] + "/"
    for entry in view.rows(ENTRIES).scan(prefix):
        if _same(pathless(entry.value.principal), canonical):
            return entry.value
    return None


def pathless(arn: str) -> str:
    """A role's ARN without its path; sessions do not tell theirs."""
    head, _, rest = arn.partition(":role/")
    return f"{head}:role/{rest.rpartition('/')[2]}" if rest else arn


def _same(one: str, other: str) -> bool:
    """The authenticator compares ARNs regardless of case."""
    return one.lower() == other.lower()


def _of_entry(
    entry: AccessEntry, principal: Principal, node_name: Callable[[str], str]
) -> Mapped | None:
    username = _filled(entry.username, principal, node_name)
    if username is None:
        return None
    groups, grants = list(entry.groups), []
    for item in entry.policies:
        if item.policy == CLUSTER_ADMIN.arn and not item.namespaces:
            groups.append(MASTERS)
        else:
            grants.append(Grant(POLICIES[item.policy].role, item.namespaces))
    return Mapped(username, tuple(groups), tuple(grants))


def _of_config(
    data: Mapping[str, str], principal: Principal, node_name: Callable[[str], str]
) -> Mapped | None:
    """The first mapping that names the principal: roles, users, then whole accounts."""
    for member, name in (("mapRoles", "rolearn"), ("mapUsers", "userarn")):
        for mapping in _mappings(data.get(member, "")):
            arn = mapping.get(name)
            if not isinstance(arn, str) or not _same(arn, principal.canonical):
                continue
            given = mapping.get("username")
            template = given if isinstance(given, str) and given else principal.canonical
            username = _filled(template, principal, node_name)
            groups = tuple(str(group) for group in mapping.get("groups") or ())
            return Mapped(username, groups) if username is not None else None
    accounts = [str(account) for account in _listed(data.get("mapAccounts", ""))]
    return Mapped(principal.canonical) if principal.account in accounts else None


def _mappings(text: str) -> Iterator[dict[str, Any]]:
    yield from (item for item in _listed(text) if isinstance(item, dict))


def _listed(text: str) -> list[Any]:
    """A YAML list; nothing where the text is none, as the authenticator only logs that."""
    if len(text) > MAX_CONFIG_BYTES:
        return []
    import yaml  # on first use

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _filled(template: str, principal: Principal, node_name: Callable[[str], str]) -> str | None:
    """A user name with its templates filled in; None where one cannot be."""
    values = {
        "AccountID": principal.account,
        "SessionName": _UNSAFE.sub("-", principal.session),
        "SessionNameRaw": principal.session,
        "AccessKeyID": principal.access_key,
    }
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        if match[1] == "EC2PrivateDNSName":
            found = node_name(principal.session)
        else:
            found = values.get(match[1], "")
        missing = missing or not found
        return found

    filled = _TEMPLATE.sub(value, template)
    return None if missing else filled
