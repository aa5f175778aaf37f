"""Admission in process: what is added to objects and what is refused, before rules are checked.

Plugins are functions over one write, in kube-apiserver's order. They return the guards and
writes that must be committed with the object (an address that it takes).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from proa.kube.api import service_addresses as services
from proa.kube.api.context import Api, Json
from proa.kube.api.failures import forbidden, invalid, not_found
from proa.kube.api.service_addresses import Admitted
from proa.kube.keys import object_key
from proa.kube.schema.errors import FieldError
from proa.kube.schema.kinds import Resource
from proa.kube.tables import SERVICE_ACCOUNTS, namespace_of
from proa.store.api import Exists, Guard

SERVICES = ("", "services")
DRAWING = (SERVICES, ("batch", "jobs"))  # are given what must not be taken for the author's
IMMORTAL = ("default", "kube-system", "kube-public")  # NamespaceLifecycle
TOKEN_VOLUME = "kube-api-access-"  # and a suffix
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def on_create(api: Api, resource: Resource, namespace: str, obj: Json) -> Admitted:
    """Mutates ``obj``. Raises ApiError."""
    guards: tuple[Guard | Exists, ...] = ()
    if resource.namespaced:
        guards = (_namespace(api, resource, namespace, obj),)
    plugin = _ON_CREATE.get(resource.group_name)
    if plugin is not None:
        plugin(api, resource, namespace, obj)
    elif resource.group_name == SERVICES:
        taken = services.admitted(api, resource, obj, None)
        return Admitted((*guards, *taken.guards), taken.writes)
    return Admitted(guards)


def seen_for_pod(api: Api, namespace: str, spec: Json) -> object:
    """Whatever ``on_create`` looks at for a pod beside the pod itself: while this is the same, it
    adds the same to the same pod, or refuses it for the same reason."""
    cluster, account = api.cluster.uid, spec.get("serviceAccountName") or spec.get("serviceAccount")
    home = namespace_of(api.view, cluster, namespace)
    key = object_key(cluster, "", "serviceaccounts", namespace, account or "default")
    seen = [home, api.view.rows(SERVICE_ACCOUNTS).get(key)]
    seen += api.entries(api.builtin("scheduling.k8s.io", "priorityclasses"))
    if spec.get("runtimeClassName"):
        classes = api.builtin("node.k8s.io", "runtimeclasses")
        seen.append(api.entry(classes, "", spec["runtimeClassName"]))
    return [entry and entry.version for entry in seen]


def on_update(
    api: Api, resource: Resource, namespace: str, old: Json, new: Json, subresource: str
) -> Admitted:
    """Mutates ``new``. Raises ApiError."""
    kind = resource.group_name
    if kind == ("", "namespaces") and subresource != "finalize":
        new.setdefault("spec", {})["finalizers"] = old.get("spec", {}).get("finalizers", [])
    if kind == ("", "secrets"):
        _fold_text(new)
    if kind == SERVICES and not subresource:
        return services.admitted(api, resource, new, old)
    return Admitted()


def on_delete(resource: Resource, name: str) -> None:
    """Before anything is marked for its end. Raises ApiError for what may not go."""
    if resource.group_name == ("", "namespaces") and name in IMMORTAL:
        raise forbidden(resource, name, "this namespace may not be deleted")


def on_remove(api: Api, resource: Resource, obj: Json) -> Admitted:
    """What an object held is given back."""
    if resource.group_name != SERVICES:
        return Admitted()
    return Admitted((), services.released(api, obj))


def _new_namespace(_api: Api, _resource: Resource, _namespace: str, obj: Json) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj["status"] = {"phase": "Active"}


def _new_pod(api: Api, resource: Resource, namespace: str, obj: Json) -> None:
    _service_account(api, resource, namespace, obj)
    _runtime_class(api, resource, obj)
    _priority(api, resource, obj)
    _pod(obj)


def _new_secret(_api: Api, _resource: Resource, _namespace: str, obj: Json) -> None:
    _fold_text(obj)


def _new_job(_api: Api, resource: Resource, _namespace: str, obj: Json) -> None:
    _job_selector(resource, obj)


# What is added to new objects of some kinds. Services, which take addresses, are apart.
_ON_CREATE: dict[tuple[str, str], Callable[[Api, Resource, str, Json], None]] = {
    ("", "namespaces"): _new_namespace,
    ("", "pods"): _new_pod,
    ("", "secrets"): _new_secret,
    ("batch", "jobs"): _new_job,
}


def _fold_text(secret: Json) -> None:
    """``stringData`` is only a way to write: it becomes part of ``data``."""
    texts = secret.pop("stringData", None) or {}
    if texts:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _namespace(api: Api, resource: Resource, namespace: str, obj: Json) -> Exists:
    """NamespaceLifecycle: the namespace must exist and not be terminating."""
    entry = namespace_of(api.view, api.cluster.uid, namespace)
    if entry is None:
        raise not_found(api.builtin("", "namespaces"), namespace)
    if entry.value.metadata.deleting:
        name = obj["metadata"].get("name", "")
        error = forbidden(
            resource,
            name,
            f"unable to create new content in namespace {namespace} because it is being terminated",
        )
        causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace",
                   "message": f"namespace {namespace} is being terminated"}]  # fmt: skip
        error.details = {**(error.details or {}), "causes": causes}
        raise error
    return Exists(entry.key)


def _service_account(api: Api, resource: Resource, namespace: str, obj: Json) -> None:
    """ServiceAccount: "default" where none is named, its token where it is not declined."""
    spec = obj.setdefault("spec", {})
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    key = object_key(api.cluster.uid, "", "serviceaccounts", namespace, name)
    entry = api.view.rows(SERVICE_ACCOUNTS).get(key)
    if entry is None:
        account_name = f"{namespace}/{name}"
        why = f'error looking up service account {account_name}: serviceaccount "{name}" not found'
        raise forbidden(resource, obj["metadata"].get("name", ""), why)
    account = orjson.loads(entry.body)
    if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    declined = spec.get("automountServiceAccountToken")
    if declined is None:
        declined = account.get("automountServiceAccountToken")
    if declined is not False:
        _mount_token(api, spec)


def _runtime_class(api: Api, resource: Resource, obj: Json) -> None:
    """RuntimeClass: the named one must exist; its overhead and node selector become the pod's."""
    spec = obj["spec"]
    name = spec.get("runtimeClassName")
    if not name:
        return
    entry = api.entry(api.builtin("node.k8s.io", "runtimeclasses"), "", name)
    if entry is None:
        why = f'pod rejected: RuntimeClass "{name}" not found'
        raise forbidden(resource, obj["metadata"].get("name", ""), why)
    found = orjson.loads(entry.body)
    fixed = (found.get("overhead") or {}).get("podFixed")
    if fixed:
        spec["overhead"] = fixed
    selector = (found.get("scheduling") or {}).get("nodeSelector") or {}
    if selector:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **selector}


class _Class(NamedTuple):
    """A PriorityClass; of several defaults the lowest counts."""

    value: int = 0
    name: str = ""
    policy: str = "PreemptLowerPriority"
    default: bool = False


@lru_cache(maxsize=256)
def _class(body: bytes) -> _Class:
    found = orjson.loads(body)
    policy = found.get("preemptionPolicy") or "PreemptLowerPriority"
    default = bool(found.get("globalDefault"))
    return _Class(found.get("value", 0), found["metadata"]["name"], policy, default)


def _priority(api: Api, resource: Resource, obj: Json) -> None:
    """Priority: the number and the policy of the pod's class, or of the one that is the default."""
    spec, pod = obj["spec"], obj["metadata"].get("name", "")
    classes = api.builtin("scheduling.k8s.io", "priorityclasses")
    name = spec.get("priorityClassName")
    if name:
        entry = api.entry(classes, "", name)
        if entry is None:
            raise forbidden(resource, pod, f"no PriorityClass with name {name} was found")
        found = _class(entry.body)
    else:
        all = (_class(entry.body) for entry in api.entries(classes))
        found = min((one for one in all if one.default), default=_Class())
        if found.name:
            spec["priorityClassName"] = found.name
    wanted = found.value, found.policy
    computed = "priority admission controller computed {} from the given PriorityClass name"
    if spec.get("priority") not in (None, wanted[0]):
        why = f"the integer value of priority ({spec['priority']}) must not be provided in pod spec"
        raise forbidden(resource, pod, f"{why}; {computed.format(wanted[0])}")
    if spec.get("preemptionPolicy") not in (None, "", wanted[1]):
        given = spec["preemptionPolicy"]
        why = f"the string value of PreemptionPolicy ({given}) must not be provided in pod spec"
        raise forbidden(resource, pod, f"{why}; {computed.format(wanted[1])}")
    spec["priority"], spec["preemptionPolicy"] = wanted


def _job_selector(resource: Resource, job: Json) -> None:
    """A Job finds its pods by its own uid, unless its author takes that upon themselves."""
    spec, meta = job.setdefault("spec", {}), job["metadata"]
    if spec.get("manualSelector"):
        return
    if spec.get("selector"):
        text = "`selector` will be auto-generated"
        error = FieldError("FieldValueInvalid", "spec.selector", text, spec["selector"])
        raise invalid(resource, meta["name"], [error])
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    labels = template["labels"] = template.get("labels") or {}
    for prefix in ("", "batch.kubernetes.io/"):
        labels[f"{prefix}controller-uid"] = meta["uid"]
        labels[f"{prefix}job-name"] = meta["name"]
    uid = {"batch.kubernetes.io/controller-uid": meta["uid"]}
    spec["selector"] = {"matchLabels": uid}


def _mount_token(api: Api, spec: Json) -> None:
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    missing = [
        item
        for item in containers
        if not any(mount.get("mountPath") == TOKEN_PATH for mount in item.get("volumeMounts") or [])
    ]
    if not missing:
        return
    name = f"{TOKEN_VOLUME}{api.chance.suffix()}"
    spec.setdefault("volumes", []).append({"name": name, "projected": _token_sources()})
    for container in missing:
        mount = {"name": name, "mountPath": TOKEN_PATH, "readOnly": True}
        container.setdefault("volumeMounts", []).append(mount)


def _token_sources() -> dict[str, Any]:
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {
                "configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }
            },
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
        ],
    }


def _pod(obj: Json) -> None:
    """DefaultTolerationSeconds; a new pod is Pending."""
    spec = obj["spec"]
    tolerations = spec.setdefault("tolerations", [])
    for condition in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{condition}"
        if not any(item.get("key") in (key, None, "") for item in tolerations):
            tolerations.append(
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
            )
    obj["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort, by the containers' CPU and memory."""
    asked, guaranteed = False, True
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            asked = asked or name in requests or name in limits
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
