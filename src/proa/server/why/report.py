"""What ``proa why`` answers: one report a subject, and the words for what Instances lack.

Plain structs, encoded as JSON for ``--json`` and printed by the CLI. Every sentence under
``because`` is a fact that was read somewhere; every line under ``advice`` is something the user
can do.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proa.base.quantity import CPU_PER_VCPU, MIB
from proa.placement.explain import Answer, Lack

GIB = 1024 * MIB


class InstanceAnswer(msgspec.Struct, frozen=True):
    """One Instance and all that it lacks, in words."""

    name: str
    lacks: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """``state`` in the API's own words. Empty ``because``: nothing is waited for."""

    kind: str
    name: str
    state: str
    because: tuple[str, ...] = ()
    instances: tuple[InstanceAnswer, ...] = ()
    events: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()  # good to know, but nothing waits for them


_PLAIN = {
    "cordoned": "is cordoned (unschedulable)",
    "notready": "is not ready",
    "distinct": "runs one of the same group already (distinctInstance)",
    "pod-affinity": "is not near the pods that the pod affinity asks for",
    "pod-anti-affinity": "is near pods that the pod anti-affinity keeps away from",
    "existing-anti-affinity": "is near pods whose own anti-affinity keeps this one away",
}
_DETAILED = {
    "taint": "has the taint {}, which is not tolerated",
    "selector": "does not meet {}",
    "zone": "is not in zone {}",
    "pinned": "is not the one that is asked for by name ({})",
    "ports": "has port {} in use",
    "spread": "would make the spread over {} too uneven",
    "spread-label": "has no label {} to spread over",
}
_ADVICE = {
    "cpu": "ask for less CPU, stop something, or raise what the Instance may reserve: proa up "
    "without --strict reserves 8 times the physical CPU",
    "memory": "ask for less memory, stop something, or use a machine with more",
    "disk": "ask for less ephemeral storage, or free some disk",
    "sandboxes": "the Instance is full: remove pods or tasks",
    "cordoned": "kubectl uncordon the node, or set the container instance back to ACTIVE",
    "notready": "look at proa doctor and proa logs agent: the agent gives no sign of life",
    "taint": "add a matching toleration, or take the taint away: kubectl taint nodes NODE KEY-",
    "selector": "label the node (kubectl label node), or put the attribute on the container "
    "instance (aws ecs put-attributes), or drop the requirement",
    "zone": "choose a subnet in a zone that has an Instance",
    "pinned": "name an Instance that exists",
    "ports": "choose another host port, or 0 for a free one, or stop what holds it",
    "distinct": "run at most one of the group on each Instance, or drop distinctInstance",
    "spread": "raise maxSkew, or say ScheduleAnyway",
    "spread-label": "label the nodes with the topology key",
    "extended": "ask for less of it, or use nodes that offer more",
    "pod-affinity": "start the pods it wants to be near to first, or make the affinity preferred",
    "pod-anti-affinity": "add nodes, or make the anti-affinity preferred",
    "existing-anti-affinity": "add nodes, or make the other pods' anti-affinity preferred",
}


def lack_text(lack: Lack) -> str:
    """One lack with its figures."""
    if lack.code in _PLAIN:
        return _PLAIN[lack.code]
    if lack.code in _DETAILED:
        return _DETAILED[lack.code].format(lack.detail)
    where = " of the machine's Pool" if lack.code.startswith("pool-") else ""
    name = lack.detail if lack.code == "extended" else lack.code.removeprefix("pool-")
    wanted, left, total = (amount_text(name, n) for n in (lack.wanted, lack.left, lack.total))
    return f"has {left} of {total}{where} left, and {wanted} asked for"


def amount_text(name: str, amount: int) -> str:
    """An amount in the unit that people use for it."""
    if name == "cpu":
        return f"{amount / CPU_PER_VCPU:g} vCPU"
    if name in ("memory", "disk"):
        unit = "memory" if name == "memory" else "disk"
        if abs(amount) >= 10 * GIB:
            return f"{amount / GIB:.1f} GiB of {unit}"
        return f"{amount / MIB:.0f} MiB of {unit}"
    return f"{amount} places" if name == "sandboxes" else f"{amount} {name}"


def in_words(answers: Iterable[Answer]) -> tuple[InstanceAnswer, ...]:
    """What every Instance answers; an Instance without lacks would take it."""
    return tuple(
        InstanceAnswer(
            answer.name or answer.instance, tuple(lack_text(lack) for lack in answer.lacks)
        )
        for answer in answers
    )


def advice_on(answers: Iterable[Answer]) -> tuple[str, ...]:
    """What to do about the lacks, each once; nothing while some Instance would take it."""
    answers = list(answers)
    if any(not answer.lacks for answer in answers):
        return ()
    codes = [lack.code.removeprefix("pool-") for answer in answers for lack in answer.lacks]
    return tuple(_ADVICE[code] for code in dict.fromkeys(codes))


_ENDS = {
    126: "the command is there but may not be executed",
    127: "the command was not found",
    134: "it aborted (SIGABRT)",
    137: "it was killed (SIGKILL): out of memory, or slow to stop",
    139: "it crashed (SIGSEGV)",
    143: "it was asked to stop (SIGTERM)",
}


def exit_text(code: int) -> str:
    """An exit code with what it usually means."""
    meaning = _ENDS.get(code)
    return f"exit code {code}" + (f": {meaning}" if meaning else "")


ADVICE_BY_REASON = {
    "ErrImagePull": "check the image's name; proa image list shows what is here, proa image load "
    "brings a tar in",
    "ImagePullBackOff": "check the image's name; proa image list shows what is here, proa image "
    "load brings a tar in",
    "InvalidImageName": "correct the image reference",
    "ErrImageNeverPull": "imagePullPolicy is Never: load the image first (proa image load)",
    "CrashLoopBackOff": "read what it said before it ended: kubectl logs --previous",
    "CreateContainerConfigError": "create the ConfigMap, Secret or key that it names",
    "CreateContainerError": "look at the message; the container's settings do not fit this host",
    "RunContainerError": "check command, entryPoint and user against the image",
    "StartError": "check command, entryPoint and user against the image",
    "ContainerCannotRun": "check command, entryPoint and user against the image",
    "OOMKilled": "raise the memory limit, or have the program use less",
}
