"""One container of a pod as the agent runs it: command, resources, probes, hooks, rights."""

from __future__ import annotations

from typing import Any

from proa.base.quantity import bytes_of, cpu_of
from proa.kube.compile.environment import environment, expand, references
from proa.kube.compile.requests import shares_of
from proa.kube.compile.sources import Json, Missing, Sources
from proa.model.sandbox import Container, HttpProbe, Mount, Probe

_SHARED = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile")


def container(pod: Json, item: Json, init: bool, sources: Sources, problem: str) -> Container:
    """Compile ``item``. ``problem`` is why no container of the pod can be made yet; a missing
    reference of its own blocks this one alone (CreateContainerConfigError)."""
    spec, security = pod["spec"], _security(pod, item)
    blocked = problem
    try:
        values = environment(pod, item, sources)
    except Missing as error:
        values, blocked = {}, blocked or f"CreateContainerConfigError: {error}"
    if security.get("runAsNonRoot") and security.get("runAsUser") == 0:
        text = f"container's runAsUser breaks non-root policy (container: {item['name']})"
        blocked = blocked or f"CreateContainerConfigError: {text}"
    mounts: tuple[Mount, ...] = ()
    try:
        mounts = _mounts(item, values)
    except Missing as error:
        blocked = blocked or f"CreateContainerConfigError: {error}"
    limits = (item.get("resources") or {}).get("limits") or {}
    requests = {**limits, **((item.get("resources") or {}).get("requests") or {})}
    hooks = item.get("lifecycle") or {}
    capabilities = security.get("capabilities") or {}
    escalation = security.get("allowPrivilegeEscalation")
    pod_security = spec.get("securityContext") or {}
    return Container(
        name=item["name"],
        image=item["image"],
        pull=item.get("imagePullPolicy") or _pull_policy(item["image"]),
        entrypoint=_command(item.get("command"), values),
        arguments=_command(item.get("args"), values),
        working_dir=item.get("workingDir") or "",
        environment=tuple(values.items()),
        mounts=mounts,
        user=_user(security),
        cpu_shares=shares_of(cpu_of(requests.get("cpu", 0))),
        cpu_quota=cpu_of(limits.get("cpu", 0)),
        memory_limit=bytes_of(limits.get("memory", 0)),
        liveness=probe(item, item.get("livenessProbe")),
        readiness=probe(item, item.get("readinessProbe")),
        startup=probe(item, item.get("startupProbe")),
        restart=_restart(spec, item, init),
        init=init,
        pre_stop=probe(item, hooks.get("preStop")),
        post_start=probe(item, hooks.get("postStart")),
        stop_signal=(hooks.get("stopSignal") or ""),
        tty=bool(item.get("tty")),
        stdin=bool(item.get("stdin")),
        stdin_once=bool(item.get("stdinOnce")),
        privileged=bool(security.get("privileged")),
        read_only_root=bool(security.get("readOnlyRootFilesystem")),
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        allow_privilege_escalation=escalation is not False,
        run_as_non_root=bool(security.get("runAsNonRoot")),
        supplemental_groups=tuple(pod_security.get("supplementalGroups") or ()),
        seccomp=_seccomp(security),
        termination_message_path=item.get("terminationMessagePath") or "/dev/termination-log",
        termination_message_from_logs=item.get("terminationMessagePolicy")
        == "FallbackToLogsOnError",
        blocked=blocked,
    )


def _pull_policy(image: str) -> str:
    """Always for :latest and for no tag, as the API defaults it."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"


def _command(words: list[str] | None, values: dict[str, str]) -> tuple[str, ...] | None:
    return tuple(expand(word, values) for word in words) if words else None


def _mounts(item: Json, values: dict[str, str]) -> tuple[Mount, ...]:
    """Raises Missing for a subPathExpr that names a variable the container does not have."""
    propagations = {"None": "", None: ""}
    return tuple(
        Mount(
            volume=mount["name"],
            path=mount["mountPath"],
            read_only=bool(mount.get("readOnly")),
            sub_path=mount.get("subPath") or _sub_path(mount.get("subPathExpr") or "", values),
            propagation=propagations.get(
                mount.get("mountPropagation"), mount.get("mountPropagation") or ""
            ),
        )
        for mount in item.get("volumeMounts") or ()
    )


def _sub_path(expression: str, values: dict[str, str]) -> str:
    unknown = [name for name in references(expression) if name not in values]
    if unknown:
        raise Missing(f"missing value for {', '.join(map(repr, unknown))}")
    path = expand(expression, values)
    if path.startswith("/") or ".." in path.split("/"):
        raise Missing(f"failed to prepare subPath {path}: it leads out of the volume")
    return path


def _restart(spec: Json, item: Json, init: bool) -> str:
    """Init containers run until they succeed unless the pod never restarts anything; one that
    restarts always is a sidecar (KEP-753)."""
    policy = spec.get("restartPolicy") or "Always"
    if not init:
        return str(item.get("restartPolicy") or policy)
    if item.get("restartPolicy") == "Always":
        return "Always"
    return "Never" if policy == "Never" else "OnFailure"


def _security(pod: Json, item: Json) -> dict[str, Any]:
    """The container's security context over the pod's."""
    whole = pod["spec"].get("securityContext") or {}
    shared = {key: whole[key] for key in _SHARED if key in whole}
    return {**shared, **(item.get("securityContext") or {})}


def _seccomp(security: dict[str, Any]) -> str:
    """A profile as the agent names it. A pod that says nothing gets the runtime's own, which is
    what a kubelet with seccompDefault does."""
    profile = security.get("seccompProfile") or {}
    if profile.get("type") == "Unconfined":
        return "unconfined"
    if profile.get("type") == "Localhost":
        return f"localhost/{profile.get('localhostProfile', '')}"
    return ""


def _user(security: dict[str, Any]) -> str:
    user, group = security.get("runAsUser"), security.get("runAsGroup")
    if user is None:
        return ""
    return f"{user}" if group is None else f"{user}:{group}"


def probe(item: Json, wanted: Json | None) -> Probe | None:
    """A probe or a lifecycle handler; names of ports are looked up among the container's."""
    if not wanted:
        return None
    action: dict[str, Any] = {}
    if wanted.get("httpGet"):
        action["http"] = _http(item, wanted["httpGet"])
    elif wanted.get("tcpSocket"):
        action["tcp_port"] = port_number(item, wanted["tcpSocket"]["port"])
    elif wanted.get("grpc"):
        action["grpc_port"] = int(wanted["grpc"]["port"])
        action["grpc_service"] = wanted["grpc"].get("service") or ""
    elif wanted.get("sleep"):
        action["sleep_s"] = float(wanted["sleep"]["seconds"])
    else:
        action["command"] = tuple((wanted.get("exec") or {}).get("command") or ())
    return Probe(
        **action,
        initial_delay_s=wanted.get("initialDelaySeconds") or 0,
        period_s=wanted.get("periodSeconds") or 10,
        timeout_s=wanted.get("timeoutSeconds") or 1,
        successes=wanted.get("successThreshold") or 1,
        failures=wanted.get("failureThreshold") or 3,
        grace_s=wanted.get("terminationGracePeriodSeconds"),
    )


def _http(item: Json, wanted: Json) -> HttpProbe:
    headers = tuple((pair["name"], pair["value"]) for pair in wanted.get("httpHeaders") or ())
    return HttpProbe(
        port=port_number(item, wanted["port"]),
        path=wanted.get("path") or "/",
        host=wanted.get("host") or "",
        scheme=(wanted.get("scheme") or "HTTP").lower(),
        headers=headers,
    )


def port_number(item: Json, port: int | str) -> int:
    """A port by number or by its name in the container; 0 for an unknown name."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    declared = {entry.get("name"): entry["containerPort"] for entry in item.get("ports") or ()}
    return int(declared.get(port, 0))
