"""Small typed projections of Kubernetes objects: what controllers and the hull's port reason about.

Decoded once per change by the tables of ``kube.tables``; never written back. Unknown fields are
ignored, absent ones have Kubernetes' zero values, so a projection never needs the full schema.
The version of an object is its ``Entry.version``; the stored body holds no resourceVersion.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Thing(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The base of every projection: camelCase outside, snake_case inside; JSON has no cycles."""


class OwnerReference(Thing, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class Meta(Thing, frozen=True):
    """What of ObjectMeta anything here looks at."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object."""
        for owner in self.owner_references:
            if owner.controller:
                return owner
        return None

    @property
    def deleting(self) -> bool:
        return bool(self.deletion_timestamp)


class Object(Thing, frozen=True):
    """Any object of any kind, custom ones included."""

    api_version: str = ""
    kind: str = ""
    metadata: Meta = Meta()


class LabelExpression(Thing, frozen=True):
    """One requirement of a label or node selector."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Thing, frozen=True):
    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelExpression, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.match_labels and not self.match_expressions

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether labels satisfy every part (an empty selector matches all)."""
        for key, value in self.match_labels.items():
            if labels.get(key) != value:
                return False
        return all(_holds(expression, labels) for expression in self.match_expressions)


def _holds(expression: LabelExpression, labels: dict[str, str]) -> bool:
    present = expression.key in labels
    if expression.operator == "In":
        return present and labels[expression.key] in expression.values
    if expression.operator == "NotIn":
        return not present or labels[expression.key] not in expression.values
    return present == (expression.operator == "Exists")


class Condition(Thing, frozen=True):
    """A status condition of any kind; ``heartbeat`` is a Node's, ``update`` a Deployment's."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    last_heartbeat_time: str = ""
    last_update_time: str = ""
    last_probe_time: str = ""
    observed_generation: int = 0


def condition(conditions: tuple[Condition, ...], type: str) -> Condition | None:
    """The condition of one type."""
    for item in conditions:
        if item.type == type:
            return item
    return None


# Pods


class KeyReference(Thing, frozen=True):
    """A reference to a ConfigMap or a Secret, perhaps to one key of it."""

    name: str = ""
    key: str = ""


class EnvSource(Thing, frozen=True):
    config_map_key_ref: KeyReference | None = None
    secret_key_ref: KeyReference | None = None


class EnvVar(Thing, frozen=True):
    name: str = ""
    value_from: EnvSource | None = None


class EnvFrom(Thing, frozen=True):
    config_map_ref: KeyReference | None = None
    secret_ref: KeyReference | None = None


class ContainerPort(Thing, frozen=True):
    name: str = ""
    container_port: int = 0
    host_port: int = 0
    protocol: str = "TCP"
    host_ip: str = msgspec.field(default="", name="hostIP")


class ResourceRequirements(Thing, frozen=True):
    """Quantities as written: a number is one too."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Container(Thing, frozen=True):
    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    restart_policy: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()


class ConfigMapVolume(Thing, frozen=True):
    name: str = ""


class SecretVolume(Thing, frozen=True):
    secret_name: str = ""


class ProjectedSource(Thing, frozen=True):
    config_map: KeyReference | None = None
    secret: KeyReference | None = None


class ProjectedVolume(Thing, frozen=True):
    sources: tuple[ProjectedSource, ...] = ()


class ClaimVolume(Thing, frozen=True):
    claim_name: str = ""


class EphemeralVolume(Thing, frozen=True):
    """A volume whose claim is made for the pod: named <pod>-<volume>."""


class Volume(Thing, frozen=True):
    name: str = ""
    persistent_volume_claim: ClaimVolume | None = None
    ephemeral: EphemeralVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    projected: ProjectedVolume | None = None


class Toleration(Thing, frozen=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class NodeSelectorTerm(Thing, frozen=True):
    match_expressions: tuple[LabelExpression, ...] = ()
    match_fields: tuple[LabelExpression, ...] = ()


class PreferredTerm(Thing, frozen=True):
    weight: int = 0
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeSelector(Thing, frozen=True):
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class NodeAffinity(Thing, frozen=True):
    required: NodeSelector | None = msgspec.field(
        default=None, name="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: tuple[PreferredTerm, ...] = msgspec.field(
        default=(), name="preferredDuringSchedulingIgnoredDuringExecution"
    )


class PodAffinityTerm(Thing, frozen=True):
    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    topology_key: str = ""
    namespace_selector: LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


class WeightedPodAffinityTerm(Thing, frozen=True):
    weight: int = 0
    pod_affinity_term: PodAffinityTerm = PodAffinityTerm()


class PodAffinity(Thing, frozen=True):
    required: tuple[PodAffinityTerm, ...] = msgspec.field(
        default=(), name="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: tuple[WeightedPodAffinityTerm, ...] = msgspec.field(
        default=(), name="preferredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(Thing, frozen=True):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class SpreadConstraint(Thing, frozen=True):
    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None
    min_domains: int = 0
    match_label_keys: tuple[str, ...] = ()
    node_affinity_policy: str = "Honor"
    node_taints_policy: str = "Ignore"


class SchedulingGate(Thing, frozen=True):
    name: str = ""


class PodSpec(Thing, frozen=True):
    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] = ()
    topology_spread_constraints: tuple[SpreadConstraint, ...] = ()
    scheduling_gates: tuple[SchedulingGate, ...] = ()
    scheduler_name: str = "default-scheduler"
    priority: int = 0
    preemption_policy: str = ""
    overhead: dict[str, str | int | float] = {}
    resources: ResourceRequirements | None = None  # pod-level (KEP-2837)
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = False
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30


class Terminated(Thing, frozen=True):
    exit_code: int = 0
    finished_at: str = ""


class ContainerState(Thing, frozen=True):
    terminated: Terminated | None = None


class ContainerStatus(Thing, frozen=True):
    name: str = ""
    restart_count: int = 0
    state: ContainerState = ContainerState()


class PodStatus(Thing, frozen=True):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: str = ""
    nominated_node_name: str = ""
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


TERMINAL = ("Succeeded", "Failed")  # phases of a pod that has ended


STANDINGS = ("waiting", "ready", "ending", "ended")  # how a pod counts for its controller


class Pod(Object, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def terminal(self) -> bool:
        """Its containers have all ended for good."""
        return self.status.phase in TERMINAL

    @property
    def active(self) -> bool:
        """Counts for a controller: neither over nor being deleted."""
        return not self.terminal and not self.metadata.deleting

    @property
    def standing(self) -> str:
        """One of ``STANDINGS``; the first two are those of an active pod."""
        if self.status.phase in TERMINAL:
            return "ended"
        if self.metadata.deletion_timestamp:
            return "ending"
        return "waiting" if self.ready_since is None else "ready"

    @property
    def ready_since(self) -> str | None:
        """When it became Ready, as written; None while it is not ready."""
        for item in self.status.conditions:  # asked too often to go by ``condition``
            if item.type == "Ready":
                return item.last_transition_time if item.status == "True" else None
        return None


# Workloads


class PodTemplate(Thing, frozen=True):
    """The raw template: compared whole, copied whole."""

    metadata: dict[str, Any] = {}
    spec: dict[str, Any] = {}


class ReplicaSetSpec(Thing, frozen=True):
    replicas: int = 1
    min_ready_seconds: int = 0
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()


class ReplicaSetStatus(Thing, frozen=True):
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class ReplicaSet(Object, frozen=True):
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class RollingUpdate(Thing, frozen=True):
    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"


class DeploymentStrategy(Thing, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class DeploymentSpec(Thing, frozen=True):
    replicas: int = 1
    min_ready_seconds: int = 0
    paused: bool = False
    revision_history_limit: int | None = 10
    progress_deadline_seconds: int | None = 600
    strategy: DeploymentStrategy = DeploymentStrategy()
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()


class DeploymentStatus(Thing, frozen=True):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    collision_count: int | None = None
    conditions: tuple[Condition, ...] = ()


class Deployment(Object, frozen=True):
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


# Services


class ServicePort(Thing, frozen=True):
    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str = 0
    node_port: int = 0
    app_protocol: str | None = None


class ClientIpConfig(Thing, frozen=True):
    timeout_seconds: int = 10_800


class AffinityConfig(Thing, frozen=True):
    client_ip: ClientIpConfig = msgspec.field(default=ClientIpConfig(), name="clientIP")


class ServiceSpec(Thing, frozen=True):
    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_name: str = ""
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    publish_not_ready_addresses: bool = False
    external_traffic_policy: str = "Cluster"
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    load_balancer_class: str | None = None


class Ingress(Thing, frozen=True):
    """An address of a load balancer."""

    ip: str = ""


class LoadBalancer(Thing, frozen=True):
    ingress: tuple[Ingress, ...] = ()


class ServiceStatus(Thing, frozen=True):
    load_balancer: LoadBalancer = LoadBalancer()


class Service(Object, frozen=True):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def headless(self) -> bool:
        return self.spec.cluster_ip == "None"


class EndpointConditions(Thing, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ObjectReference(Thing, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(Thing, frozen=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference | None = None

    @property
    def ready(self) -> bool:
        """Unknown is to be read as ready (EndpointSlice API)."""
        return self.conditions.ready is not False


class EndpointPort(Thing, frozen=True):
    name: str = ""
    protocol: str = "TCP"
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True):
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Taint(Thing, frozen=True):
    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str = ""


class NodeSpec(Thing, frozen=True):
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    provider_id: str = msgspec.field(default="", name="providerID")


class NodeAddress(Thing, frozen=True):
    type: str = ""
    address: str = ""


class ContainerImage(Thing, frozen=True):
    names: tuple[str, ...] = ()
    size_bytes: int = 0


class NodeStatus(Thing, frozen=True):
    images: tuple[ContainerImage, ...] = ()
    capacity: dict[str, str | int | float] = {}
    allocatable: dict[str, str | int | float] = {}
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()


class Node(Object, frozen=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class LeaseSpec(Thing, frozen=True):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    renew_time: str = ""


class Lease(Object, frozen=True):
    spec: LeaseSpec = LeaseSpec()


class NamespaceSpec(Thing, frozen=True):
    finalizers: tuple[str, ...] = ()


class NamespaceStatus(Thing, frozen=True):
    phase: str = "Active"
    conditions: tuple[Condition, ...] = ()


class Namespace(Object, frozen=True):
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class ConfigMap(Object, frozen=True):
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}  # base64


class Secret(Object, frozen=True):
    """Metadata alone: values are read from the stored bytes when a pod is compiled."""
