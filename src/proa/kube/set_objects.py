"""Typed projections of StatefulSets, DaemonSets and the ControllerRevisions of both.

As in ``kube.objects``: decoded once per change by the tables, never written back.
"""

from __future__ import annotations

from typing import Any

from proa.kube.objects import Condition, LabelSelector, Object, PodTemplate, Thing


class Revision(Object, frozen=True):
    """``data`` is the patch that makes a set's template what it was; compared whole."""

    revision: int = 0
    data: dict[str, Any] | None = None


class Partition(Thing, frozen=True):
    """A StatefulSet's rolling update: ordinals below ``partition`` keep the current revision."""

    partition: int = 0


class StatefulStrategy(Thing, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: Partition | None = None


class Ordinals(Thing, frozen=True):
    start: int = 0


class ClaimRetention(Thing, frozen=True):
    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class StatefulSetSpec(Thing, frozen=True):
    replicas: int = 1
    min_ready_seconds: int = 0
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: StatefulStrategy = StatefulStrategy()
    revision_history_limit: int = 10
    ordinals: Ordinals = Ordinals()
    persistent_volume_claim_retention_policy: ClaimRetention = ClaimRetention()
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    volume_claim_templates: tuple[PodTemplate, ...] = ()  # raw in the same way


class StatefulSetStatus(Thing, frozen=True):
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int = 0


class StatefulSet(Object, frozen=True):
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()


class DaemonRolling(Thing, frozen=True):
    max_unavailable: int | str = 1
    max_surge: int | str = 0


class DaemonStrategy(Thing, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: DaemonRolling = DaemonRolling()


class DaemonSetSpec(Thing, frozen=True):
    min_ready_seconds: int = 0
    update_strategy: DaemonStrategy = DaemonStrategy()
    revision_history_limit: int = 10
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()


class DaemonSetStatus(Thing, frozen=True):
    collision_count: int = 0
    conditions: tuple[Condition, ...] = ()


class DaemonSet(Object, frozen=True):
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()
