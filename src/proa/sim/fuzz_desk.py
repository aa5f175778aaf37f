"""What a drawn workload is written on: its steps, their instants, its images. Part of ``fuzz``."""

from __future__ import annotations

from typing import Any

from proa.base.chance import Chance

Json = dict[str, Any]
BUSY_S = 20.0  # when the last step comes, at most


class Desk:
    """What a workload is written on."""

    def __init__(self, chance: Chance, number: int, steps: list[Json], images: dict[str, Json]):
        self.chance, self.number = chance, number
        self._steps, self._images = steps, images
        self.at = round(1 + 3 * chance.random(), 2)

    def later(self) -> None:
        """Let some time pass, or none at all."""
        pause = self.chance.choice([0.0, 0.05, 1.0, 4.0, 8.0]) * self.chance.random()
        self.at = round(min(BUSY_S, self.at + pause), 3)

    def kube(self, call: str, body: Json | None = None, kind: str = "", **more: Any) -> None:
        step: Json = {"at": self.at, "user": self.number, "kube": call}
        if body is not None:
            step["body"] = body
        if kind:
            step["content_type"] = kind
        self._steps.append(step | more)

    def ecs(self, operation: str, given: Json, **more: Any) -> None:
        step = {"at": self.at, "user": self.number, "ecs": operation, "input": given}
        self._steps.append(step | more)

    def image(self, name: str, **behaviour: Any) -> str:
        """An image of this workload's own, with a behaviour."""
        chance = self.chance
        drawn = {
            "pull_s": chance.choice([0.1, 0.5, 2.0]),
            "ready_s": chance.choice([0.0, 0.0, 1.0]),
            "stops_s": chance.choice([0.1, 0.1, 2.0, None]),
        }
        reference = f"{name}:{len(self._images)}"
        self._images[reference] = drawn | behaviour
        return reference
