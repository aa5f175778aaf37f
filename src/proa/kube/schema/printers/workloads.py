"""What kubectl shows of the kinds that make pods."""

from __future__ import annotations

from proa.kube.schema.printers.common import (
    AGE,
    JSON,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    at,
    condition,
    containers_of,
    human_duration,
    images_of,
    labels_text,
    or_none,
    seconds_of,
    selector_text,
    since,
)

TEMPLATE = "spec.template"
CONTAINERS = Column("Containers", containers_of(TEMPLATE), 1)
IMAGES = Column("Images", images_of(TEMPLATE), 1)


def _selector(obj: JSON, now: float) -> str:
    return selector_text(at(obj, "spec.selector"))


def _map_selector(obj: JSON, now: float) -> str:
    return labels_text(at(obj, "spec.selector"))


SELECTOR = Column("Selector", _selector, 1)
TEMPLATE_COLUMNS = [CONTAINERS, IMAGES, SELECTOR]


def _integer(name: str, path: str) -> Column:
    return Column(name, path, type="integer")


def _ready(obj: JSON, now: float) -> str:
    return f"{at(obj, 'status.readyReplicas', 0)}/{at(obj, 'spec.replicas', 0)}"


def _node_selector(obj: JSON, now: float) -> str:
    return labels_text(at(obj, "spec.template.spec.nodeSelector"))


def _job_status(job: JSON, now: float) -> str:
    def holds(kind: str) -> bool:
        return (condition(job, kind) or {}).get("status") == "True"

    if holds("Complete"):
        return "Complete"
    if holds("Failed"):
        return "Failed"
    if at(job, "metadata.deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if holds(kind):
            return kind
    return "Running"


def _completions(job: JSON, now: float) -> str:
    succeeded = at(job, "status.succeeded", 0)
    wanted, parallelism = at(job, "spec.completions"), at(job, "spec.parallelism", 0)
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(job: JSON, now: float) -> str:
    start = seconds_of(at(job, "status.startTime", ""))
    if start is None:
        return ""
    end = seconds_of(at(job, "status.completionTime", ""))
    return human_duration((now if end is None else end) - start)


def _suspend(job: JSON, now: float) -> str:
    return str(bool(at(job, "spec.suspend")))


def _active(job: JSON, now: float) -> int:
    return len(at(job, "status.active", ()))


def _last_schedule(job: JSON, now: float) -> str:
    last = at(job, "status.lastScheduleTime")
    return since(last, now) if last else NONE


JOB_TEMPLATE = "spec.jobTemplate.spec.template"


def _cron_selector(job: JSON, now: float) -> str:
    return selector_text(at(job, "spec.jobTemplate.spec.selector"))


def _reference(autoscaler: JSON, now: float) -> str:
    target = at(autoscaler, "spec.scaleTargetRef", {})
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _targets(autoscaler: JSON, now: float) -> str:
    specs: list[JSON] = at(autoscaler, "spec.metrics", [])
    if not specs:
        return NONE
    current: list[JSON] = at(autoscaler, "status.currentMetrics", [])
    shown = [
        _target(spec, current[index] if index < len(current) else {})
        for index, spec in enumerate(specs)
    ]
    more = len(shown) - 2
    text = ", ".join(shown[:2])
    return f"{text} + {more} more..." if more > 0 else text


_METRIC = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def _target(spec: JSON, status: JSON) -> str:
    kind = _METRIC.get(spec.get("type", ""), "")
    source, now = spec.get(kind, {}), at(status, f"{kind}.current", {})
    target = source.get("target", {})
    name = f"{source.get('name')}: " if kind in ("resource", "containerResource") else ""
    if "averageUtilization" in target:
        used = now.get("averageUtilization")
        shown = UNKNOWN if used is None else f"{used}%"
        return f"{name}{shown}/{target['averageUtilization']}%"
    if "averageValue" in target:
        suffix = " (avg)" if kind in ("object", "external") else ""
        return f"{name}{now.get('averageValue', UNKNOWN)}/{target['averageValue']}{suffix}"
    return f"{name}{now.get('value', UNKNOWN)}/{target.get('value', UNKNOWN)}"


def _cpu_target(autoscaler: JSON, now: float) -> str:
    wanted = at(autoscaler, "spec.targetCPUUtilizationPercentage")
    if wanted is None:
        return NONE
    used = at(autoscaler, "status.currentCPUUtilizationPercentage")
    return f"cpu: {UNKNOWN if used is None else f'{used}%'}/{wanted}%"


def _minimum(autoscaler: JSON, now: float) -> str:
    return str(at(autoscaler, "spec.minReplicas", UNSET))


def _autoscaler(targets: Column) -> list[Column]:
    return [
        NAME,
        Column("Reference", _reference),
        targets,
        Column("MinPods", _minimum),
        _integer("MaxPods", "spec.maxReplicas"),
        _integer("Replicas", "status.currentReplicas"),
        AGE,
    ]


def _budget(path: str) -> Column:
    title = {"minAvailable": "Min Available", "maxUnavailable": "Max Unavailable"}[path]
    return Column(title, lambda obj, now: str(at(obj, f"spec.{path}", "N/A")))


def _owner(revision: JSON, now: float) -> str:
    owners: list[JSON] = at(revision, "metadata.ownerReferences", [])
    owner = next((item for item in owners if item.get("controller")), None)
    if owner is None:
        return NONE
    group = owner.get("apiVersion", "").rpartition("/")[0]
    kind = owner.get("kind", "").lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


def _replicas(selector: Column) -> list[Column]:
    return [
        NAME,
        _integer("Desired", "spec.replicas"),
        _integer("Current", "status.replicas"),
        _integer("Ready", "status.readyReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        selector,
    ]


WORKLOADS: dict[tuple[str, str], list[Column]] = {
    ("apps", "deployments"): [
        NAME,
        Column("Ready", _ready),
        _integer("Up-to-date", "status.updatedReplicas"),
        _integer("Available", "status.availableReplicas"),
        AGE,
        *TEMPLATE_COLUMNS,
    ],
    ("apps", "replicasets"): _replicas(SELECTOR),
    ("", "replicationcontrollers"): _replicas(Column("Selector", _map_selector, 1)),
    ("apps", "statefulsets"): [NAME, Column("Ready", _ready), AGE, CONTAINERS, IMAGES],
    ("apps", "daemonsets"): [
        NAME,
        _integer("Desired", "status.desiredNumberScheduled"),
        _integer("Current", "status.currentNumberScheduled"),
        _integer("Ready", "status.numberReady"),
        _integer("Up-to-date", "status.updatedNumberScheduled"),
        _integer("Available", "status.numberAvailable"),
        Column("Node Selector", _node_selector),
        AGE,
        *TEMPLATE_COLUMNS,
    ],
    ("apps", "controllerrevisions"): [
        NAME,
        Column("Controller", _owner),
        _integer("Revision", "revision"),
        AGE,
    ],
    ("batch", "jobs"): [
        NAME,
        Column("Status", _job_status),
        Column("Completions", _completions),
        Column("Duration", _duration),
        AGE,
        *TEMPLATE_COLUMNS,
    ],
    ("batch", "cronjobs"): [
        NAME,
        Column("Schedule", "spec.schedule"),
        Column("Timezone", or_none("spec.timeZone")),
        Column("Suspend", _suspend),
        Column("Active", _active, type="integer"),
        Column("Last Schedule", _last_schedule),
        AGE,
        Column("Containers", containers_of(JOB_TEMPLATE), 1),
        Column("Images", images_of(JOB_TEMPLATE), 1),
        Column("Selector", _cron_selector, 1),
    ],
    ("autoscaling", "horizontalpodautoscalers"): _autoscaler(Column("Targets", _targets)),
    ("autoscaling/v1", "horizontalpodautoscalers"): _autoscaler(Column("Targets", _cpu_target)),
    ("policy", "poddisruptionbudgets"): [
        NAME,
        _budget("minAvailable"),
        _budget("maxUnavailable"),
        _integer("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE,
    ],
    ("", "podtemplates"): [
        NAME,
        Column("Containers", containers_of("template")),
        Column("Images", images_of("template")),
        Column("Pod Labels", lambda obj, now: labels_text(at(obj, "template.metadata.labels"))),
    ],
}
