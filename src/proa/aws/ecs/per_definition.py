"""What follows from a task definition alone, worked out once and kept.

A service's tasks are all made from one definition: its documents are read, and turned into what
tasks, asks and Sandboxes have of them, once for all. A definition's document never changes; one
that was read anew from the store is worked out anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from proa.aws.ecs.records import Document, Task, TaskDefinition

T = TypeVar("T")
KEPT = 2000  # definitions of which something is kept, for each kind of thing


class PerDefinition(Generic[T]):
    """``make`` is told the definition, a launch type and what is overridden. What it gives is
    shared: nobody changes it."""

    def __init__(self, make: Callable[[TaskDefinition, str, Document], T]) -> None:
        self._make = make
        self._known: dict[tuple[str, str, int, str], tuple[Document, T]] = {}

    def of_task(self, task: Task, definition: TaskDefinition) -> T:
        """What a task has of its definition: kept, unless the task overrides something of that."""
        if task.overrides:
            return self._make(definition, task.launch_type, task.overrides)
        return self.of(definition, task.launch_type)

    def of(self, definition: TaskDefinition, launch_type: str = "") -> T:
        """What follows from this definition, nothing overridden."""
        place = definition.account + "/" + definition.region
        key = (place, definition.family, definition.revision, launch_type)
        found = self._known.get(key)
        if found is not None and found[0] is definition.document:
            return found[1]
        made = self._make(definition, launch_type, {})
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[key] = definition.document, made
        return made
