"""What no schema says: names, immutability, references between fields, as kube-apiserver checks.

The API calls these after defaulting; what they return becomes the causes of a 422. Which checks a
kind has stands in the two tables below, the checks themselves in ``kube.schema.checks`` by area.
Fields that the schema requires are reported here too, so one call says all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.kube.schema.checks import cluster, pods, services, workloads
from proa.kube.schema.checks.basics import Errors, check_metadata, check_metadata_update
from proa.kube.schema.errors import REQUIRED
from proa.kube.schema.kinds import Resource
from proa.kube.schema.validate import validate

JSON = dict[str, Any]
Check = Callable[[JSON], Errors]
UpdateCheck = Callable[[JSON, JSON], Errors]
RBAC = "rbac.authorization.k8s.io"

CREATE: dict[tuple[str, str], Check] = {
    ("", "Pod"): pods.check_pod,
    ("", "Service"): services.check_service,
    ("", "ConfigMap"): cluster.check_config_map,
    ("", "Secret"): cluster.check_secret,
    ("", "PersistentVolumeClaim"): cluster.check_claim,
    ("", "PersistentVolume"): cluster.check_volume,
    ("", "ReplicationController"): workloads.check_replication_controller,
    ("apps", "Deployment"): workloads.check_deployment,
    ("apps", "ReplicaSet"): workloads.check_replica_set,
    ("apps", "StatefulSet"): workloads.check_stateful_set,
    ("apps", "DaemonSet"): workloads.check_daemon_set,
    ("batch", "Job"): workloads.check_job,
    ("batch", "CronJob"): workloads.check_cron_job,
    ("autoscaling", "HorizontalPodAutoscaler"): workloads.check_autoscaler,
    ("policy", "PodDisruptionBudget"): workloads.check_budget,
    ("networking.k8s.io", "Ingress"): services.check_ingress,
    (RBAC, "Role"): cluster.check_role,
    (RBAC, "ClusterRole"): cluster.check_role,
    (RBAC, "RoleBinding"): cluster.check_role_binding,
    (RBAC, "ClusterRoleBinding"): cluster.check_cluster_role_binding,
    ("scheduling.k8s.io", "PriorityClass"): cluster.check_priority_class,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): cluster.check_definition,
}
UPDATE: dict[tuple[str, str], UpdateCheck] = {
    ("", "Pod"): pods.check_pod_update,
    ("", "Service"): services.check_service_update,
    ("", "ConfigMap"): cluster.check_data_update,
    ("", "Secret"): cluster.check_secret_update,
    ("", "PersistentVolumeClaim"): cluster.check_claim_update,
    ("apps", "Deployment"): workloads.check_selector_update,
    ("apps", "ReplicaSet"): workloads.check_selector_update,
    ("apps", "DaemonSet"): workloads.check_selector_update,
    ("apps", "StatefulSet"): workloads.check_stateful_set_update,
    ("batch", "Job"): workloads.check_job_update,
    (RBAC, "RoleBinding"): cluster.check_binding_update,
    (RBAC, "ClusterRoleBinding"): cluster.check_binding_update,
    ("scheduling.k8s.io", "PriorityClass"): cluster.check_priority_class_update,
    ("storage.k8s.io", "StorageClass"): cluster.check_storage_class_update,
}
# Whose new form is checked only for what changed: a pod that was admitted stays admitted.
_CHANGES_ONLY = {("", "Pod")}


def check_create(resource: Resource, obj: JSON, *, whole: bool = False) -> Errors:
    """Faults of a new object, its defaults applied. ``whole``: its schema is known to be kept."""
    errors = check_metadata(resource.group_kind, obj.get("metadata", {}))
    return errors + _check_content(resource, obj, whole)


def check_update(resource: Resource, old: JSON, new: JSON, *, whole: bool = False) -> Errors:
    """Faults of a changed object, defaults applied to both. ``whole``: the new one's schema is
    known to be kept."""
    before, after = old.get("metadata", {}), new.get("metadata", {})
    errors = check_metadata(resource.group_kind, after)
    errors += check_metadata_update(before, after)
    kind = resource.group_kind
    if kind not in _CHANGES_ONLY:
        errors += _check_content(resource, new, whole)
    check = UPDATE.get(kind)
    return errors + check(old, new) if check is not None else errors


def _check_content(resource: Resource, obj: JSON, whole: bool) -> Errors:
    check = CREATE.get(resource.group_kind)
    errors = check(obj) if check is not None else []
    if not whole and resource.schemas is not None:
        found = {error.field for error in errors}
        missing = validate(resource, obj, strict=False)
        errors += [e for e in missing if e.type == REQUIRED and e.field not in found]
    return errors
