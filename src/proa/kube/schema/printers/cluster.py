"""What kubectl shows of nodes, namespaces, configuration, events, access and extensions."""

from __future__ import annotations

from proa.kube.schema.printers.common import (
    AGE,
    CREATED_AT,
    JSON,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    at,
    boolean,
    condition,
    count,
    human_duration,
    or_none,
    since,
)

ROLE_LABEL = "node-role.kubernetes.io/"


def _node_status(node: JSON, now: float) -> str:
    ready = condition(node, "Ready")
    if ready is None:
        status = "Unknown"
    else:
        status = "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if at(node, "spec.unschedulable") else status


def _roles(node: JSON, now: float) -> str:
    roles: set[str] = set()
    for label, value in at(node, "metadata.labels", {}).items():
        if label.startswith(ROLE_LABEL) and label != ROLE_LABEL:
            roles.add(label.removeprefix(ROLE_LABEL))
        elif label == "kubernetes.io/role" and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _address(kind: str) -> Column:
    def cell(node: JSON, now: float) -> str:
        for address in at(node, "status.addresses", ()):
            if address.get("type") == f"{kind}IP":
                return str(address.get("address", ""))
        return NONE

    return Column(f"{kind}-IP", cell, 1)


def _node_info(title: str, field: str, priority: int = 1) -> Column:
    path = f"status.nodeInfo.{field}"
    return Column(title, lambda node, now: at(node, path, "") or UNKNOWN, priority)


def _last_seen(event: JSON, now: float) -> str:
    last = (
        at(event, "series.lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("deprecatedLastTimestamp")
        or event.get("eventTime")
    )
    return since(last, now)


def _first_seen(event: JSON, now: float) -> str:
    first = (
        event.get("firstTimestamp")
        or event.get("deprecatedFirstTimestamp")
        or event.get("eventTime")
    )
    return since(first, now)


def _about(event: JSON) -> JSON:
    about: JSON = event.get("involvedObject") or event.get("regarding") or {}
    return about


def _event_object(event: JSON, now: float) -> str:
    about = _about(event)
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    return f"{kind}/{name}" if name else kind


def _event_source(event: JSON, now: float) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = (
        source.get("component")
        or event.get("reportingComponent")
        or event.get("reportingController", "")
    )
    parts = (component, source.get("host") or event.get("reportingInstance", ""))
    return ", ".join(part for part in parts if part)


def _event_count(event: JSON, now: float) -> int:
    return int(at(event, "series.count") or event.get("count") or event.get("deprecatedCount") or 1)


def _event_message(event: JSON, now: float) -> str:
    return str(event.get("message") or event.get("note") or "").strip()


EVENT_COLUMNS = [
    Column("Last Seen", _last_seen),
    Column("Type", "type"),
    Column("Reason", "reason"),
    Column("Object", _event_object),
    Column("Subobject", lambda event, now: _about(event).get("fieldPath", ""), 1),
    Column("Source", _event_source, 1),
    Column("Message", _event_message),
    Column("First Seen", _first_seen, 1),
    Column("Count", _event_count, 1, "integer"),
    Column("Name", "metadata.name", 1),
]


def _role(binding: JSON, now: float) -> str:
    return f"{at(binding, 'roleRef.kind', '')}/{at(binding, 'roleRef.name', '')}"


def _subjects(title: str, kind: str) -> Column:
    def cell(binding: JSON, now: float) -> str:
        names = [
            f"{subject['namespace']}/{subject.get('name')}"
            if kind == "ServiceAccount" and subject.get("namespace")
            else subject.get("name", "")
            for subject in binding.get("subjects") or ()
            if subject.get("kind") == kind
        ]
        return ", ".join(names)

    return Column(title, cell, 1)


BINDING_COLUMNS = [
    NAME,
    Column("Role", _role),
    AGE,
    _subjects("Users", "User"),
    _subjects("Groups", "Group"),
    _subjects("ServiceAccounts", "ServiceAccount"),
]


def _quota(*, limits: bool) -> Column:
    def cell(quota: JSON, now: float) -> str:
        hard, used = at(quota, "status.hard", {}), at(quota, "status.used", {})
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{hard[name]}"
            for name in sorted(hard)
            if name.startswith("limits") == limits
        )

    return Column("Limit" if limits else "Request", cell)


def _api_service(service: JSON, now: float) -> str:
    reference = at(service, "spec.service")
    return f"{reference.get('namespace')}/{reference.get('name')}" if reference else "Local"


def _available(service: JSON, now: float) -> str:
    found = condition(service, "Available")
    if found is None:
        return UNKNOWN
    status = str(found.get("status"))
    return status if status == "True" else f"{status} ({found.get('reason')})"


def _signing_condition(request: JSON, now: float) -> str:
    kinds = [item.get("type", "") for item in at(request, "status.conditions", ())]
    text = ",".join(kinds) or "Pending"
    return f"{text},Issued" if at(request, "status.certificate") else text


def _requested(request: JSON, now: float) -> str:
    seconds = at(request, "spec.expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _healthy(status: JSON, now: float) -> str:
    conditions: list[JSON] = status.get("conditions", [])
    found: JSON = next((c for c in conditions if c.get("type") == "Healthy"), {})
    return {"True": "Healthy", "False": "Unhealthy"}.get(found.get("status", ""), "Unknown")


def _param_kind(policy: JSON, now: float) -> str:
    kind = at(policy, "spec.paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET


def _param_ref(binding: JSON, now: float) -> str:
    reference = at(binding, "spec.paramRef")
    if not reference:
        return UNSET
    return f"{reference.get('namespace') or '*'}/{reference.get('name', '*')}"


def _distinguisher(schema: JSON, now: float) -> str:
    return str(at(schema, "spec.distinguisherMethod.type", NONE))


CLUSTER: dict[tuple[str, str], list[Column]] = {
    ("", "nodes"): [
        NAME,
        Column("Status", _node_status),
        Column("Roles", _roles),
        AGE,
        Column("Version", "status.nodeInfo.kubeletVersion"),
        _address("Internal"),
        _address("External"),
        _node_info("OS-Image", "osImage"),
        _node_info("Kernel-Version", "kernelVersion"),
        _node_info("Container-Runtime", "containerRuntimeVersion"),
    ],
    ("", "namespaces"): [NAME, Column("Status", "status.phase"), AGE],
    ("", "configmaps"): [NAME, Column("Data", count("data", "binaryData"), type="string"), AGE],
    ("", "secrets"): [NAME, Column("Type", "type"), Column("Data", count("data")), AGE],
    ("", "serviceaccounts"): [NAME, Column("Secrets", count("secrets")), AGE],
    ("", "events"): EVENT_COLUMNS,
    ("events.k8s.io", "events"): EVENT_COLUMNS,
    ("", "resourcequotas"): [NAME, _quota(limits=False), _quota(limits=True), AGE],
    ("", "limitranges"): [NAME, CREATED_AT],
    ("", "componentstatuses"): [NAME, Column("Status", _healthy)],
    ("coordination.k8s.io", "leases"): [NAME, Column("Holder", "spec.holderIdentity"), AGE],
    ("rbac.authorization.k8s.io", "roles"): [NAME, CREATED_AT],
    ("rbac.authorization.k8s.io", "clusterroles"): [NAME, CREATED_AT],
    ("rbac.authorization.k8s.io", "rolebindings"): BINDING_COLUMNS,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): BINDING_COLUMNS,
    ("apiextensions.k8s.io", "customresourcedefinitions"): [NAME, CREATED_AT],
    ("apiregistration.k8s.io", "apiservices"): [
        NAME,
        Column("Service", _api_service),
        Column("Available", _available),
        AGE,
    ],
    ("certificates.k8s.io", "certificatesigningrequests"): [
        NAME,
        AGE,
        Column("SignerName", "spec.signerName"),
        Column("Requestor", "spec.username"),
        Column("RequestedDuration", _requested),
        Column("Condition", _signing_condition),
    ],
    ("scheduling.k8s.io", "priorityclasses"): [
        NAME,
        Column("Value", "value", type="integer"),
        Column("Global-Default", boolean("globalDefault")),
        AGE,
        Column("PreemptionPolicy", "preemptionPolicy"),
    ],
    ("node.k8s.io", "runtimeclasses"): [NAME, Column("Handler", "handler"), AGE],
    **{
        ("admissionregistration.k8s.io", f"{kind}webhookconfigurations"): [
            NAME,
            Column("Webhooks", count("webhooks"), type="integer"),
            AGE,
        ]
        for kind in ("mutating", "validating")
    },
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): [
        NAME,
        Column("Validations", count("spec.validations"), type="integer"),
        Column("ParamKind", _param_kind),
        AGE,
    ],
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"): [
        NAME,
        Column("Mutations", count("spec.mutations"), type="integer"),
        Column("ParamKind", _param_kind),
        AGE,
    ],
    **{
        ("admissionregistration.k8s.io", f"{kind}admissionpolicybindings"): [
            NAME,
            Column("PolicyName", "spec.policyName"),
            Column("ParamRef", _param_ref),
            AGE,
        ]
        for kind in ("mutating", "validating")
    },
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): [
        NAME,
        Column("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        Column("MatchingPrecedence", "spec.matchingPrecedence", type="integer"),
        Column("DistinguisherMethod", _distinguisher),
        AGE,
    ],
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): [
        NAME,
        Column("Type", "spec.type"),
        Column("NominalConcurrencyShares", or_none("spec.limited.nominalConcurrencyShares")),
        AGE,
    ],
}
