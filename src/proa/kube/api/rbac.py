"""Authorisation by roles (RBAC): pure evaluation over the roles and bindings in the view."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import orjson
from msgspec import Struct

from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json, User
from proa.kube.objects import Object
from proa.kube.schema.selectors import label_selector_object
from proa.reconcile.view import Entry

GROUP = "rbac.authorization.k8s.io"
GRANTING = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
CACHE_SIZE = 2048
GRANT_LIMIT = 10_000  # single permissions of one rule that are looked at
MISSING_SHOWN = 10


class Attributes(Struct, frozen=True):
    """What is asked for: a resource, or a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Rbac:
    """Reads roles and bindings of one cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._decoded: OrderedDict[tuple[str, int], Json] = OrderedDict()

    def allows(self, user: User, attributes: Attributes) -> bool:
        """Whether any rule that applies to the user allows it."""
        if "system:masters" in user.groups:
            return True
        return any(covers(rule, attributes) for rule in self.rules_for(user, attributes.namespace))

    def denial(self, user: User, attributes: Attributes) -> ApiError:
        """403 in kube-apiserver's words."""
        who = f'User "{user.name}" cannot {attributes.verb}'
        if attributes.path:
            return ApiError(403, "Forbidden", f'forbidden: {who} path "{attributes.path}"', {})
        name, group = attributes.resource, attributes.group
        what = f"{name}/{attributes.subresource}" if attributes.subresource else name
        qualified = f"{name}.{group}" if group else name
        place = (
            f'in the namespace "{attributes.namespace}"'
            if attributes.namespace
            else "at the cluster scope"
        )
        subject = f'{qualified} "{attributes.name}"' if attributes.name else qualified
        message = f'{subject} is forbidden: {who} resource "{what}" in API group "{group}" {place}'
        details: dict[str, Any] = {"kind": name}
        if attributes.name:
            details["name"] = attributes.name
        if group:
            details["group"] = group
        return ApiError(403, "Forbidden", message, details)

    def check_grant(self, user: User, name: str, namespace: str, obj: Json) -> None:
        """A role or binding may grant only what its writer holds there, unless the writer may
        "escalate" (roles) or "bind" (bindings); ``name`` is the resource's plural. Other resources
        pass. Raises ApiError 403. (Kubernetes' privilege escalation prevention.)"""
        if name not in GRANTING or "system:masters" in user.groups:
            return
        own = obj["metadata"].get("name", "")
        if name in ("roles", "clusterroles"):
            waiver = Attributes("escalate", GROUP, name, "", namespace, own)
            granted = obj.get("rules") or ()
        else:
            reference = obj["roleRef"]
            kind = "roles" if reference.get("kind") == "Role" else "clusterroles"
            waiver = Attributes("bind", GROUP, kind, "", namespace, reference.get("name", ""))
            granted = self._rules(reference, namespace)
        if self.allows(user, waiver):
            return
        held = list(self.rules_for(user, namespace))
        missing = [rule for rule in granted if not _holds(held, rule)]
        if obj.get("aggregationRule") or missing:
            shown = "\n".join(orjson.dumps(rule).decode() for rule in missing[:MISSING_SHOWN])
            message = (
                f'{name}.{GROUP} "{own}" is forbidden: user "{user.name}" is attempting to grant '
                f"RBAC permissions not currently held:\n{shown}"
            )
            details = {"name": own, "group": GROUP, "kind": name}
            raise ApiError(403, "Forbidden", message, details)

    def rules_for(self, user: User, namespace: str) -> Iterator[Json]:
        """Every rule that applies to a user in a namespace ("" for cluster scope)."""
        for binding in self._all("clusterrolebindings"):
            if _is_subject(user, binding.get("subjects") or [], ""):
                yield from self._rules(binding["roleRef"], "")
        if namespace:
            for binding in self._all("rolebindings", namespace):
                if _is_subject(user, binding.get("subjects") or [], namespace):
                    yield from self._rules(binding["roleRef"], namespace)
        for grant in user.grants:
            if not grant.namespaces or any(_glob(item, namespace) for item in grant.namespaces):
                yield from self._rules({"kind": "ClusterRole", "name": grant.role}, "")

    def _rules(self, reference: Mapping[str, str], namespace: str) -> Sequence[Json]:
        kind = reference.get("kind")
        resource = self._api.builtin(GROUP, "roles" if kind == "Role" else "clusterroles")
        entry = self._api.entry(resource, namespace, reference.get("name", ""))
        return self._rules_of(self._load(entry), set()) if entry is not None else ()

    def _rules_of(self, role: Json, seen: set[str]) -> Sequence[Json]:
        """A role's rules; those of an aggregate are the rules of the roles that it selects, which
        may be aggregates themselves ("edit" is part of "admin"). ``seen`` ends circles."""
        aggregation = role.get("aggregationRule")
        if not aggregation:
            return role.get("rules") or ()
        seen.add(role["metadata"]["name"])
        selectors = [
            label_selector_object(selector)
            for selector in aggregation.get("clusterRoleSelectors") or ()
        ]
        rules: list[Json] = []
        for other in self._all("clusterroles"):
            metadata = other["metadata"]
            if metadata["name"] in seen:
                continue
            if any(matches(metadata.get("labels") or {}) for matches in selectors):
                seen.add(metadata["name"])
                rules += self._rules_of(other, seen)
        return rules

    def _all(self, name: str, namespace: str = "") -> Iterator[Json]:
        for entry in self._api.entries(self._api.builtin(GROUP, name), namespace):
            yield self._load(entry)

    def _load(self, entry: Entry[Object]) -> Json:
        mark = (entry.key, entry.version)
        found = self._decoded.get(mark)
        if found is None:
            found = self._decoded[mark] = orjson.loads(entry.body)
            while len(self._decoded) > CACHE_SIZE:
                self._decoded.popitem(last=False)
        return found


def _glob(pattern: str, namespace: str) -> bool:
    """Whether a namespace matches; a cluster-scoped request ("") never does."""
    return bool(namespace) and fnmatchcase(namespace, pattern)


def _is_subject(user: User, subjects: Sequence[Mapping[str, str]], namespace: str) -> bool:
    for subject in subjects:
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if kind == "ServiceAccount":
            where = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{where}:{name}":
                return True
    return False


def covers(rule: Json, attributes: Attributes) -> bool:
    """Whether one rule allows what is asked for."""
    verbs = rule.get("verbs") or []
    if attributes.verb not in verbs and "*" not in verbs:
        return False
    if attributes.path:
        return any(
            _path_matches(item, attributes.path) for item in rule.get("nonResourceURLs") or []
        )
    groups = rule.get("apiGroups") or []
    if attributes.group not in groups and "*" not in groups:
        return False
    names = rule.get("resourceNames") or []
    if names and attributes.name not in names:
        return False
    return any(_resource_matches(item, attributes) for item in rule.get("resources") or [])


def _holds(held: Sequence[Json], rule: Json) -> bool:
    """Whether rules cover every single thing that another allows; too many count as not held."""
    verbs, paths = rule.get("verbs") or (), rule.get("nonResourceURLs") or ()
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    names = rule.get("resourceNames") or ("",)
    if len(verbs) * (len(paths) + len(groups) * len(resources) * len(names)) > GRANT_LIMIT:
        return False
    single = [Attributes(verb, path=path) for verb, path in product(verbs, paths)]
    for verb, group, resource, name in product(verbs, groups, resources, names):
        what, _, part = resource.partition("/")
        single.append(Attributes(verb, group, what, part, name=name))
    return all(any(covers(own, attributes) for own in held) for attributes in single)


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern


def _resource_matches(pattern: str, attributes: Attributes) -> bool:
    if pattern == "*":
        return True
    what = attributes.resource
    if attributes.subresource:
        if pattern == f"*/{attributes.subresource}":
            return True
        what += f"/{attributes.subresource}"
    return pattern == what
