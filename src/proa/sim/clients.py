"""Clients of a world's two APIs, and what they were promised.

Scenarios speak through them. Requests are those of the real tools: signed with Signature Version
4, or sent with a client certificate. Who gets no answer asks again, as the SDKs and kubectl do;
what was acknowledged is remembered by its identity, to be looked for at the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from proa.base.errors import TryAgain
from proa.base.http import Response
from proa.sim.requests import ecs_request, kube_request
from proa.sim.world import World

Json = dict[str, Any]
RETRY_S = 1.0
ATTEMPTS = 120
_PASSING = (429, 500, 503, 504)  # what clients ask again after


class Refused(AssertionError):
    """An API refused what a scenario asked for."""

    def __init__(self, status: int, answer: Json) -> None:
        super().__init__(f"{status} {answer}")
        self.status, self.answer = status, answer


@dataclass(slots=True, frozen=True)
class Promise:
    """An acknowledged write: asking ``look`` must show ``shown`` ever after, and ``holds`` as it
    was last written: an object's part by its path, a slash between names."""

    what: str
    look: Callable[[], Awaitable[Json]]
    shown: str
    holds: tuple[tuple[str, Any], ...] = ()


class Clients:
    """One user of both APIs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.promises: dict[str, Promise] = {}

    async def ecs(self, operation: str, given: Json) -> Json:
        """An operation of ECS with its input; the output. Raises Refused."""
        world = self._world

        async def attempt() -> Response:
            now = world.clock.now()
            return await world.aws(ecs_request(world.config, world.keys, now, operation, given))

        response, again = await self._until_answered(attempt)
        if operation.startswith("Delete") and response.status == 400 and again:
            self._forget_service(given.get("service", ""))
            return {}  # the first attempt was carried out
        answer = _read(response)
        if not operation.startswith(("Describe", "List")):
            await self._remember_ecs(answer)
        return answer

    def _forget_service(self, name: str) -> None:
        for what in [what for what in self.promises if what.endswith(f"/{name}")]:
            del self.promises[what]

    async def _remember_ecs(self, answer: Json) -> None:
        """A service's promise is of its last answer: what it runs, and how many."""
        if "taskDefinition" in answer:
            arn = answer["taskDefinition"]["taskDefinitionArn"]
            look = partial(self.ecs, "DescribeTaskDefinition", {"taskDefinition": arn})
            self._promise(arn, look, arn)
        if "service" in answer:
            arn = answer["service"]["serviceArn"]
            look = partial(self.ecs, "DescribeServices", {"services": [arn]})
            told = answer["service"]
            count = told["desiredCount"] if told["status"] == "ACTIVE" else 0
            self._promise(arn, look, arn, {"services/0/desiredCount": count})
            shown = await look()
            if at(shown, "services/0/desiredCount") != count:
                self._world.broken(f"{arn} was read before it was told {count}")
        for task in answer.get("tasks", ()):
            arn = task["taskArn"]
            look = partial(self.ecs, "DescribeTasks", {"tasks": [arn]})
            self._promise(arn, look, arn)

    async def kube(
        self, method: str, path: str, body: Json | None = None, content_type: str = ""
    ) -> Json:
        """A request to the Kubernetes API as a cluster administrator. Raises Refused."""
        request = kube_request(method, path, body, content_type)

        async def attempt() -> Response:
            return await self._world.kube(request)

        name = (body or {}).get("metadata", {}).get("name", "")
        response, again = await self._until_answered(attempt)
        if method == "POST" and response.status == 409 and again:
            return await self.kube("GET", f"{path}/{name}")  # the first attempt was carried out
        if method == "DELETE" and response.status == 404 and again:
            self.forget(path)
            return {}
        answer = _read(response)
        where = f"{path}/{name}" if method == "POST" else path
        if method in ("PATCH", "POST") and "/pods/" not in path:
            await self._see(where, answer)
        if method == "DELETE":
            self.forget(where)
        elif method == "PATCH" or (method == "POST" and "/pods/" not in path):
            uid = answer["metadata"]["uid"]
            wrote = _leaves((body or {}).get("spec", {}), "spec/")
            self._promise(where, partial(self.kube, "GET", where), uid, wrote)
        return answer

    async def _see(self, where: str, written: Json) -> None:
        """Who reads after a write sees it, or what came after it."""
        shown = await self.kube("GET", where)
        if _version(shown) < _version(written):
            self._world.broken(f"{where} was read at {_version(shown)} after {_version(written)}")

    def _promise(
        self,
        what: str,
        look: Callable[[], Awaitable[Json]],
        shown: str,
        wrote: Json | None = None,
    ) -> None:
        before = self.promises.get(what)
        holds = {**(dict(before.holds) if before else {}), **(wrote or {})}
        self.promises[what] = Promise(what, look, shown, tuple(holds.items()))

    def forget(self, where: str) -> None:
        """What was deleted is promised no longer, nor what was in it."""
        for what in [what for what in self.promises if f"{what}/".startswith(f"{where}/")]:
            del self.promises[what]
        if where.startswith("/api/v1/namespaces/") and where.count("/") == 4:
            inside = f"/namespaces/{where.rpartition('/')[2]}/"
            for what in [what for what in self.promises if inside in what]:
                del self.promises[what]

    async def broken_promises(self) -> list[str]:
        """What was acknowledged and is not there."""
        broken = []
        for promise in list(self.promises.values()):
            try:
                found = await promise.look()
            except Refused as error:
                broken.append(f"{promise.what} was acknowledged: {error}")
                continue
            if promise.shown not in orjson.dumps(found).decode():
                broken.append(f"{promise.what} was acknowledged and is another now: {found}")
            for path, value in promise.holds:
                if (now := at(found, path)) != value:
                    broken.append(f"{promise.what} was told {path} {value!r} and shows {now!r}")
        return broken

    async def _until_answered(
        self, attempt: Callable[[], Awaitable[Response]]
    ) -> tuple[Response, bool]:
        """The answer, and whether it took more than one attempt."""
        for number in range(ATTEMPTS):
            try:
                answer = await attempt()
                if answer.status not in _PASSING and not _is_untimely(answer):
                    return answer, number > 0
            except TryAgain:
                pass
            await self._world.clock.sleep(RETRY_S)
        raise AssertionError("the control plane never came back")


def _version(shown: Json) -> int:
    return int(shown["metadata"]["resourceVersion"])


def at(shown: Any, path: str) -> Any:
    """The value at a slash-separated path; None where there is none."""
    for part in path.split("/"):
        if isinstance(shown, list):
            index = int(part)
            shown = shown[index] if index < len(shown) else None
        elif isinstance(shown, dict):
            shown = shown.get(part)
        else:
            return None
    return shown


def _leaves(value: Json, path: str) -> Json:
    """Numbers and texts of nested objects by their paths. Lists of containers are taken by place,
    as tests write them whole or the first alone."""
    found: Json = {}
    for name, item in value.items():
        if name == "containers":
            found |= _leaves(item[0], f"{path}containers/0/")
        elif isinstance(item, dict) and not any("/" in key for key in item):
            found |= _leaves(item, f"{path}{name}/")
        elif isinstance(item, str | int):
            found[f"{path}{name}"] = item
    return found


def _is_untimely(answer: Response) -> bool:
    """Whether a signature was refused for the clock of one side; it is made anew."""
    return answer.status in (400, 403) and b"Signature expired" in answer.body


def _read(response: Response) -> Json:
    answer: Json = orjson.loads(response.body)
    if response.status >= 300:
        raise Refused(response.status, answer)
    return answer
