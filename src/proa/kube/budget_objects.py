"""Typed projection of PodDisruptionBudgets.

As in ``kube.objects``: decoded once per change by the tables, never written back.
"""

from __future__ import annotations

import msgspec

from proa.kube.objects import Condition, LabelSelector, Object, Thing


class BudgetSpec(Thing, frozen=True):
    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str = ""


class BudgetStatus(Thing, frozen=True):
    observed_generation: int = 0
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    disrupted_pods: dict[str, str] = msgspec.field(default_factory=dict)  # name → when
    conditions: tuple[Condition, ...] = ()


class Budget(Object, frozen=True):
    spec: BudgetSpec = BudgetSpec()
    status: BudgetStatus = BudgetStatus()
