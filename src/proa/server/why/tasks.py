"""Why an ECS task waits or how it ended; why a service is not where it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from proa.aws.ecs.records import Service, Task
from proa.aws.ecs.tables import EVENTS, TASKS
from proa.base.clock import iso8601
from proa.dispatch.scheduler import Scheduler
from proa.placement.explain import explain
from proa.reconcile.view import View
from proa.server.why.report import Report, advice_on, exit_text, in_words

SHOWN_EVENTS, SHOWN_REASONS = 5, 3
_ADVICE = {
    "CannotPullContainerError": "check the image's name; proa image list shows what is here, proa "
    "image load brings a tar in",
    "CannotStartContainerError": "check command, entryPoint and user against the image",
    "CannotCreateContainerError": "look at the message; the container's settings do not fit",
    "CannotCreateVolumeError": "create what the volume names",
    "ResourceInitializationError": "create the secret, parameter or file that it names, and let "
    "the execution role read it",
    "OutOfMemoryError": "raise the container's or the task's memory",
    "Essential container": "read what it said: aws logs tail GROUP, or the container's reason",
    "Task failed container health checks": "check the health check's command and timing",
}


def task_report(view: View, scheduler: Scheduler, task: Task) -> Report:
    """One task."""
    name = f"{task.cluster}/{task.id}"
    if task.last_status == "STOPPED" or task.desired_status == "STOPPED":
        because = tuple(_ends(task))
        return Report("Task", name, task.last_status, because, (), (), tuple(_advice(task)))
    ask = scheduler.ask_of(task.key)
    if not task.instance and ask is not None:
        answers = explain(scheduler.fleet, ask)
        because = ("it waits for an Instance with room",)
        return Report(
            "Task", name, task.last_status, because, in_words(answers), (), advice_on(answers)
        )
    if not task.instance:
        because = ("its log groups and addresses are being prepared",)
        return Report("Task", name, task.last_status, because)
    waiting = [
        f"container {item.name}: {item.last_status}" + (f": {item.reason}" if item.reason else "")
        for item in task.containers
        if item.last_status != "RUNNING"
    ]
    unhealthy = [
        f"container {item.name}: its health check fails"
        for item in task.containers
        if item.health == "UNHEALTHY"
    ]
    return Report("Task", name, task.last_status, (*waiting, *unhealthy))


def _ends(task: Task) -> Iterator[str]:
    if task.stop_code or task.stopped_reason:
        yield f"{task.stop_code}: {task.stopped_reason}".strip(": ")
    for item in task.containers:
        if item.exit_code is not None:
            yield f"container {item.name}: {exit_text(item.exit_code)}"
        if item.reason:
            yield f"container {item.name}: {item.reason}"


def _advice(task: Task) -> Iterator[str]:
    said = " ".join([task.stopped_reason, *(item.reason for item in task.containers)])
    for words, advice in _ADVICE.items():
        if words in said:
            yield advice


def service_report(view: View, scheduler: Scheduler, service: Service) -> Report:
    """One service: its counts, rollout, newest events, and what its tasks say."""
    tasks = [entry.value for entry in view.rows(TASKS).by("service", service.key)]
    running = sum(task.last_status == "RUNNING" for task in tasks)
    because: list[str] = []
    if running != service.desired_count:
        because.append(f"{running} of {service.desired_count} tasks are running")
    for deployment in service.deployments:
        if deployment.rollout_state not in ("", "COMPLETED"):
            text = f"deployment {deployment.id}: {deployment.rollout_state}"
            because.append(f"{text}: {deployment.rollout_reason}".rstrip(": "))
    reports = [
        task_report(view, scheduler, task) for task in tasks if task.last_status != "RUNNING"
    ]
    reasons = Counter(reason for report in reports for reason in report.because)
    because += [
        f"{reason} ({count} tasks)" if count > 1 else reason
        for reason, count in reasons.most_common(SHOWN_REASONS)
    ]
    instances = next((report.instances for report in reports if report.instances), ())
    advice = dict.fromkeys(line for report in reports for line in report.advice)
    name = f"{service.cluster}/{service.name}"
    steady = running == service.desired_count and not because
    return Report(
        "Service",
        name,
        service.status,
        () if steady else tuple(because),
        instances,
        tuple(_events(view, service)),
        () if steady else tuple(advice),
    )


def _events(view: View, service: Service) -> Iterator[str]:
    entries = [entry.value for entry in view.rows(EVENTS).scan(service.event_prefix)]
    for event in sorted(entries, key=lambda event: event.serial)[-SHOWN_EVENTS:]:
        yield f"{iso8601(event.created_at)} {event.message}"
