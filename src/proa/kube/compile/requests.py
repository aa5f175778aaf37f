"""What a pod reserves, and quantities of its containers.

Rules: "Resource Management for Pods and Containers", "Init containers: resource sharing",
KEP-753 (sidecars), KEP-2837 (pod-level resources), and the kubelet's conversion to shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from proa.base.quantity import CPU_PER_MILLICORE, bytes_of, cpu_of
from proa.kube.objects import Container, Pod
from proa.model.resources import Port, Resources

MIN_SHARES, MAX_SHARES = 2, 262_144
Quantity = str | int | float
Quantities = Mapping[str, Quantity]
_COUNTED = {"cpu", "memory", "ephemeral-storage"}
_ONE_PLACE = Resources(sandboxes=1)
_UNASKED = {"cpu": "100m", "memory": "200Mi"}  # what a container that requests none counts as


def resources_of(quantities: Quantities) -> Resources:
    """CPU, memory and ephemeral storage out of a resource list."""
    get = quantities.get
    return _resources(get("cpu", 0), get("memory", 0), get("ephemeral-storage", 0))


@lru_cache(maxsize=4096)  # pods of one template say the same
def _resources(cpu: Quantity, memory: Quantity, disk: Quantity, sandboxes: int = 0) -> Resources:
    return Resources(cpu_of(cpu), bytes_of(memory), bytes_of(disk), sandboxes)


def pod_reserve(pod: Pod) -> Resources:
    """What a pod reserves on its Instance: the sum of its containers and sidecars, or what one of
    its init containers needs at its turn if that is more, plus overhead; one place."""
    spec = pod.spec
    if _is_plain(pod):
        get = _requests_of(spec.containers[0]).get
        return _resources(get("cpu", 0), get("memory", 0), get("ephemeral-storage", 0), 1)
    total = _together(pod, _container_requests)
    if spec.resources is not None:
        total = _overridden(total, spec.resources.requests)
    if spec.overhead:
        total = total.plus(resources_of(spec.overhead))
    return total.plus(_ONE_PLACE)


def _is_plain(pod: Pod) -> bool:
    """Whether what its one container requests is all that a pod reserves."""
    spec = pod.spec
    return (
        len(spec.containers) == 1
        and not spec.init_containers
        and not spec.overhead
        and spec.resources is None
    )


def scored_requests(pod: Pod) -> tuple[int, int] | None:
    """(cpu, memory) as the scheduler's scores count them: 100m and 200Mi for each container that
    requests none (NodeResourcesFit); None where that is what a pod as a whole counts."""
    spec = pod.spec
    if _is_plain(pod):
        wanted = _requests_of(spec.containers[0])
        if "cpu" in wanted and "memory" in wanted:
            return None
    total = _together(pod, lambda item: resources_of({**_UNASKED, **_requests_of(item)}))
    if spec.resources is not None:
        total = _overridden(total, spec.resources.requests)
    total = total.plus(resources_of(spec.overhead))
    return total.cpu, total.memory


def extended_requests(pod: Pod) -> tuple[tuple[str, int], ...]:
    """Amounts of extended resources and huge pages by name, as a pod reserves them."""
    spec = pod.spec
    everyone = (*spec.containers, *spec.init_containers)
    asked = {name for item in everyone for name in _requests_of(item) if name not in _COUNTED}
    found = []
    for name in sorted(filter(is_scalar, asked)):

        def one(item: Container, name: str = name) -> Resources:
            return Resources(sandboxes=bytes_of(_requests_of(item).get(name, 0)))

        found.append((name, _together(pod, one).sandboxes))
    return tuple(found)


def is_scalar(name: str) -> bool:
    """Whether a resource is neither CPU, memory, disk nor pods but counted as a whole (extended
    resources, huge pages)."""
    return "/" in name or name.startswith("hugepages-")


def _together(pod: Pod, wanted: Callable[[Container], Resources]) -> Resources:
    """What containers need together: all that run, or an init container at its turn, each with
    the sidecars started before it ("Init containers: resource sharing")."""
    running = _sum(wanted(item) for item in pod.spec.containers)
    if not pod.spec.init_containers:
        return running
    sidecars = Resources()
    peak = Resources()
    for item in pod.spec.init_containers:
        own = wanted(item)
        if item.restart_policy == "Always":
            sidecars = sidecars.plus(own)
            peak = _larger(peak, sidecars)
        else:
            peak = _larger(peak, own.plus(sidecars))
    return _larger(running.plus(sidecars), peak)


def _requests_of(container: Container) -> Quantities:
    """Requests; a limit without a request is its own request (API defaulting)."""
    if not container.resources.limits:
        return container.resources.requests
    return {**container.resources.limits, **container.resources.requests}


def _container_requests(container: Container) -> Resources:
    return resources_of(_requests_of(container))


def _sum(items: Iterable[Resources]) -> Resources:
    total = Resources()
    for item in items:
        total = total.plus(item)
    return total


def _larger(one: Resources, other: Resources) -> Resources:
    return Resources(
        max(one.cpu, other.cpu),
        max(one.memory, other.memory),
        max(one.disk, other.disk),
        max(one.sandboxes, other.sandboxes),
    )


def _overridden(total: Resources, quantities: Quantities) -> Resources:
    own = resources_of(quantities)
    return Resources(
        own.cpu if "cpu" in quantities else total.cpu,
        own.memory if "memory" in quantities else total.memory,
        total.disk,
        total.sandboxes,
    )


def shares_of(cpu: int) -> int:
    """CPU shares of a request in 1/128,000 vCPU: 1024 a core, between 2 and 262,144 (kubelet)."""
    return min(MAX_SHARES, max(MIN_SHARES, cpu // CPU_PER_MILLICORE * 1024 // 1000))


def host_ports(pod: Pod) -> tuple[Port, ...]:
    """Ports taken on the Instance: declared hostPorts, and on its network every port."""
    found: list[Port] = []
    sidecars = [item for item in pod.spec.init_containers if item.restart_policy == "Always"]
    for container in (*sidecars, *pod.spec.containers):
        for port in container.ports:
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                found.append(Port(number, port.protocol.lower(), port.host_ip))
    return tuple(dict.fromkeys(found))


def quality_of_service(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort ("Pod Quality of Service Classes")."""
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    lists = [item.resources for item in containers]
    if pod.spec.resources is not None:
        lists = [pod.spec.resources]
    asked = any(
        item.requests.get(name) or item.limits.get(name)
        for item in lists
        for name in ("cpu", "memory")
    )
    if not asked:
        return "BestEffort"
    for item in lists:
        requests, limits = resources_of({**item.limits, **item.requests}), resources_of(item.limits)
        if not limits.cpu or not limits.memory:
            return "Burstable"
        if (requests.cpu, requests.memory) != (limits.cpu, limits.memory):
            return "Burstable"
    return "Guaranteed"
