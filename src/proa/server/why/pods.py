"""Why a pod waits or how it ended, from its own status, its events and the scheduler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from proa.dispatch.scheduler import Scheduler
from proa.kube.keys import prefix_of
from proa.kube.objects import Pod, condition
from proa.kube.tables import EVENTS, cluster_of
from proa.placement.explain import explain
from proa.reconcile.view import Entry, View
from proa.server.why.report import ADVICE_BY_REASON, Report, advice_on, exit_text, in_words

SHOWN_EVENTS = 5


def pod_report(view: View, scheduler: Scheduler, entry: Entry[Pod]) -> Report:
    """One pod."""
    pod, body = entry.value, json.loads(entry.body)
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    events = tuple(events_of(view, entry))
    if not pod.spec.node_name and not pod.terminal:
        return _unbound(scheduler, entry, name, events)
    because, advice = _containers(body)
    status = body.get("status") or {}
    if status.get("reason"):
        because.insert(0, f"{status['reason']}: {status.get('message', '')}".rstrip(": "))
    if not because and not pod.terminal and pod.ready_since is None:
        because, advice = _unready(pod, events)
    if pod.metadata.deleting:
        because.insert(0, _deleting(pod))
    state = "Terminating" if pod.metadata.deleting else pod.status.phase or "Pending"
    return Report("Pod", name, state, tuple(because), (), events, tuple(dict.fromkeys(advice)))


def _unbound(scheduler: Scheduler, entry: Entry[Pod], name: str, events: tuple[str, ...]) -> Report:
    pod = entry.value
    ask = scheduler.ask_of(entry.key)
    if ask is None:
        gates = ", ".join(gate.name for gate in pod.spec.scheduling_gates)
        if gates:
            because, advice = f"it is held by the scheduling gates {gates}", "remove the gates"
        else:
            because = f"it waits for the scheduler {pod.spec.scheduler_name!r}"
            advice = "name default-scheduler, or run the other one"
        return Report("Pod", name, "Pending", (because,), (), events, (advice,))
    answers = explain(scheduler.fleet, ask)
    found = condition(pod.status.conditions, "PodScheduled")
    because = found.message if found and found.message else "it waits for a node"
    return Report("Pod", name, "Pending", (because,), in_words(answers), events, advice_on(answers))


def _containers(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What its containers wait for, or how they ended."""
    because: list[str] = []
    advice: list[str] = []
    status = body.get("status") or {}
    for item in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        state, last = item.get("state") or {}, item.get("lastState") or {}
        waiting, ended = state.get("waiting"), state.get("terminated")
        reasons = []
        if waiting and waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            reasons.append(waiting["reason"])
            because.append(_line(item["name"], waiting["reason"], waiting.get("message", "")))
        if ended and (ended.get("exitCode") or ended.get("reason") != "Completed"):
            reasons.append(ended.get("reason", ""))
            text = exit_text(int(ended.get("exitCode", 0)))
            because.append(_line(item["name"], ended.get("reason", "ended"), text))
        before = last.get("terminated")
        if before and waiting:
            reasons.append(before.get("reason", ""))
            text = exit_text(int(before.get("exitCode", 0)))
            because.append(_line(item["name"], f"the last attempt ({item['restartCount']})", text))
        advice += [ADVICE_BY_REASON[reason] for reason in reasons if reason in ADVICE_BY_REASON]
    return because, advice


def _line(container: str, reason: str, text: str) -> str:
    return f"container {container}: {reason}" + (f": {text}" if text else "")


def _unready(pod: Pod, events: tuple[str, ...]) -> tuple[list[str], list[str]]:
    if any(" Unhealthy " in f" {event} " for event in events):
        return ["a probe fails: see the events"], ["check the probe's path, port and timing"]
    if any("FailedMount" in event for event in events):
        return ["a volume cannot be mounted: see the events"], ["create what the volume names"]
    found = condition(pod.status.conditions, "Ready")
    text = found.message if found and found.message else "its containers are being started"
    return [text], []


def _deleting(pod: Pod) -> str:
    finalizers = ", ".join(pod.metadata.finalizers)
    if finalizers:
        return f"it is being deleted and waits for the finalizers {finalizers}"
    return f"it is being deleted since {pod.metadata.deletion_timestamp}"


def events_of(view: View, entry: Entry[Any]) -> Iterator[str]:
    """The newest events about an object, oldest first: reason, message, how often."""
    meta = entry.value.metadata
    place = prefix_of(cluster_of(entry.key), "", "events", meta.namespace or "default")
    about = [
        event
        for event in view.rows(EVENTS).scan(place)
        if event.value.about_uid == meta.uid
        or (event.value.about_kind == "Node"
            and event.value.about_name == meta.name
            and not meta.namespace)
    ]  # fmt: skip
    for event in sorted(about, key=lambda event: event.version)[-SHOWN_EVENTS:]:
        body = json.loads(event.body)
        times = f" (x{event.value.count})" if event.value.count > 1 else ""
        yield f"{body.get('type', '')} {body.get('reason', '')} {body.get('message', '')}{times}"
