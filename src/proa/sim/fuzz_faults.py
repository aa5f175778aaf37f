"""Faults drawn from a seed: which, when, and how bad. Part of ``fuzz``, which see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.base.chance import Chance

Json = dict[str, Any]
MAX_FAULTS = 6


class _Draw:
    """One fault's particulars."""

    def __init__(self, chance: Chance, hosts: Sequence[str], images: Sequence[str]) -> None:
        self.chance = chance
        self.host = chance.choice(hosts)
        self.image = chance.choice(images)
        self.away_s = chance.choice([0.5, 3.0, 12.0])
        self.for_s = chance.choice([2.0, 8.0, 20.0])
        self.share = chance.choice([0.1, 0.3, 0.7])
        self.steps = chance.integer(1, chance.choice([30, 200, 800]))

    def of(self, fault: str) -> Json:
        """What the fault is given."""
        chance, host = self.chance, self.host
        if fault == "jump_clock":
            by_s = chance.choice([-600.0, -30.0, 5.0, 45.0, 120.0, 1500.0])
            return {"who": chance.choice(["plane", "plane", host]), "by_s": by_s}
        if fault == "partition":
            ways = chance.choice(["in", "out", "both"])
            return {"host": host, "for_s": chance.choice([3.0, 20.0, 70.0]), "ways": ways}
        given: dict[str, Json] = {
            "restart_agent": {"host": host, "away_s": self.away_s},
            "kill_agent": {"host": host, "steps": self.steps, "away_s": self.away_s},
            "restart_control_plane": {"away_s": self.away_s},
            "kill_control_plane": {"steps": self.steps, "away_s": self.away_s},
            "runtime_away": {"host": host, "for_s": self.for_s},
            "runtime_fails": {"host": host, "for_s": self.for_s, "share": self.share},
            "start_fails": {"host": host, "for_s": 30.0},
            "disk_full": {"host": host, "for_s": self.for_s},
            "kill_container": {"host": host, "exit_code": chance.choice([0, 1, 137])},
            "kill_sandbox": {"host": host},
            "cut_connection": {"host": host},
            "lose_answers": {"for_s": self.for_s},
            "refuse_requests": {"for_s": self.for_s},
            "slow_commits": {"for_s": self.for_s, "slow_s": chance.choice([0.05, 0.5, 2.0])},
            "refuse_commits": {"for_s": self.for_s, "share": self.share},
            "lose_commits": {"for_s": self.for_s, "share": self.share},
            "lag_watches": {"for_s": self.for_s, "lag_s": chance.choice([0.02, 0.3, 1.5])},
            "break_watches": {},
            "slow_pull": {"image": self.image, "pull_s": 15.0, "for_s": self.for_s},
            "failing_pull": {"image": self.image, "for_s": self.for_s},
            "delete_pod": {"grace_s": chance.choice([1, 3]), "evict": chance.random() < 0.3},
            "stop_task": {},
            "drain_host": {"host": host, "for_s": self.for_s},
        }
        return given[fault]


_OFTEN = (
    "restart_agent", "kill_agent", "restart_control_plane", "kill_control_plane",
    "kill_control_plane", "kill_control_plane", "runtime_away", "runtime_fails", "start_fails",
    "disk_full", "kill_container", "kill_container", "kill_sandbox", "cut_connection",
    "partition", "lose_answers", "refuse_requests", "slow_commits", "refuse_commits",
    "delete_pod", "delete_pod", "stop_task", "drain_host", "lose_commits", "break_watches",
    "lag_watches", "lag_watches", "jump_clock", "slow_pull", "failing_pull",
)  # fmt: skip


def draw_faults(
    chance: Chance, hosts: Sequence[str], images: Sequence[str], moments: Sequence[float]
) -> list[Json]:
    """None to MAX_FAULTS of them, each around one of the moments at which a step is taken. Where
    there are several machines, one may be lost."""
    found = []
    for number in range(chance.integer(0, MAX_FAULTS)):
        draw = _Draw(chance.child(str(number)), hosts, images)
        fault = chance.choice(_OFTEN)
        found.append(_planned(chance, moments, fault, draw.of(fault)))
    if len(hosts) > 2 and chance.random() < 0.15:
        lost: Json = {"host": hosts[-1], "noticed_after_s": chance.choice([5.0, 70.0])}
        if chance.random() < 0.5:
            found.append(_planned(chance, moments, "lose_host", lost))
        else:
            found.append(_planned(chance, moments, "reclaim_host", {**lost, "notice_s": 20.0}))
    return found


def _planned(chance: Chance, moments: Sequence[float], fault: str, given: Json) -> Json:
    after_s = chance.choice([0.0, 0.1, 0.5, 2.0, 6.0, 15.0]) * chance.random()
    at = round(chance.choice(moments) + after_s, 3)
    return {"between": [at, at], "fault": fault, "given": given}
