"""What a task's containers refer to outside their definition: secrets and environment files.

Used by ``EcsSkin`` just before a task is compiled. Values are read once a task, as Amazon ECS
does when a container starts, and are kept in memory only, until the task is over; what could not
be read is asked for again the next time.
"""

from __future__ import annotations

from proa.aws.ecs import compile
from proa.aws.ecs.environment import Unresolved
from proa.aws.ecs.ports import Objects, Secrets
from proa.aws.ecs.records import Task, TaskDefinition
from proa.base.errors import CallerFault

MAX_FILE_BYTES = 1024 * 1024  # of one environment file


class References:
    """``of_task`` reads, ``forget`` lets go."""

    def __init__(self, secrets: Secrets, objects: Objects) -> None:
        self._secrets, self._objects = secrets, objects
        self._known: dict[str, dict[str, str]] = {}

    def forget(self, key: str) -> None:
        """The task of this key is over."""
        self._known.pop(key, None)

    async def of_task(self, task: Task, definition: TaskDefinition) -> dict[str, str]:
        """The text of every secret and environment file by its reference, or an ``Unresolved``."""
        if (known := self._known.get(task.key)) is not None:
            return known
        common = compile.common_of(task, definition)
        found: dict[str, str] = {}
        role = _execution_role(task, definition)
        for reference in common.secrets:
            found[reference] = await self._secret(task, role, reference)
        for reference in common.files:
            found[reference] = await self._file(task, reference)
        if found and not any(isinstance(text, Unresolved) for text in found.values()):
            self._known[task.key] = found
        return found

    async def _secret(self, task: Task, role: str, reference: str) -> str:
        try:
            return await self._secrets.value(task.account, task.region, role, reference)
        except CallerFault as error:
            return Unresolved(str(error))

    async def _file(self, task: Task, reference: str) -> str:
        _, _, path = reference.partition(":::")
        bucket, _, key = path.partition("/")
        try:
            body = await self._objects.object(task.account, task.region, bucket, key)
        except CallerFault as error:
            return Unresolved(str(error))
        if len(body) > MAX_FILE_BYTES:
            return Unresolved(f"{reference} is larger than {MAX_FILE_BYTES} bytes")
        try:
            return body.decode()
        except UnicodeDecodeError:
            return Unresolved(f"{reference} is not UTF-8 text")


def _execution_role(task: Task, definition: TaskDefinition) -> str:
    overridden = task.overrides.get("executionRoleArn")
    return str(overridden or definition.document.get("executionRoleArn") or "")
