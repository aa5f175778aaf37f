"""Streams of pods through their agents: log, exec, attach, port-forward.

``server`` calls a method of ``PodStreams`` per subresource. Whatever can be refused is refused
before an upgrade, as a Status in kube-apiserver's and kubelet's words; after it, ``channels`` and
``forwarding`` speak the client's protocol.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

from proa.base.clock import from_iso8601
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response, Socket
from proa.kube.api import bodies, channels, forwarding
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json
from proa.kube.api.failures import bad_request, invalid, not_found
from proa.kube.api.node_link import NodeLink
from proa.kube.api.options import flag, whole_number
from proa.kube.api.paths import Target
from proa.kube.schema.errors import FieldError
from proa.kube.schema.errors import invalid as invalid_field
from proa.kube.schema.kinds import Resource
from proa.wire.kube.spdy import SpdyError

LOG_WEBSOCKETS = ("binary.k8s.io", "base64.binary.k8s.io", "")
PLAIN = {"content-type": "text/plain"}


class PodStreams:
    """One cluster's streams."""

    def __init__(self, api: Api, link: NodeLink) -> None:
        self._api, self._link = api, link

    def _pod(self, resource: Resource, target: Target) -> Json:
        entry = self._api.entry(resource, target.namespace, target.name)
        if entry is None:
            raise not_found(resource, target.name)
        return bodies.opened(resource, entry)

    # Logs

    async def log(self, request: Request, resource: Resource, target: Target) -> Response:
        """pods/log, as a body or as messages of a WebSocket."""
        pod = self._pod(resource, target)
        container = _container(pod, request.param("container"))
        options = self._log_options(request, target.name)
        node = pod["spec"].get("nodeName")
        if not node:
            return Response(200, b"", dict(PLAIN))
        status = _container_status(pod, container)
        if flag(request, "previous"):
            if not (status or {}).get("lastState", {}).get("terminated"):
                raise bad_request(
                    f'previous terminated container "{container}" in pod "{target.name}" not found'
                )
        elif waiting := _waiting(status):
            raise bad_request(
                f'container "{container}" in pod "{target.name}" is waiting to start: {waiting}'
            )
        chunks = self._link.logs(node, pod["metadata"]["uid"], container, options)
        first = await _first(chunks)
        offered = channels.offered_websockets(request)
        if offered is None:
            return Response(200, headers=dict(PLAIN), stream=_joined(first, chunks))
        protocol = _agreed(offered, LOG_WEBSOCKETS)

        async def run(socket: Socket) -> None:
            async for chunk in _joined(first, chunks):
                await socket.send(base64.b64encode(chunk) if "base64" in protocol else chunk)

        return Response(upgrade=run, subprotocol=protocol)

    def _log_options(self, request: Request, name: str) -> dict[str, str]:
        """The agent's options. Raises 400 and 422 (core's ValidatePodLogOptions)."""
        options = {}
        for ours in ("follow", "timestamps", "previous"):
            if flag(request, ours):
                options[ours] = "true"
        faults: list[FieldError] = []
        for ours, theirs, least in (
            ("tail", "tailLines", 0),
            ("limit", "limitBytes", 1),
            ("", "sinceSeconds", 1),
        ):
            if not request.param(theirs):
                continue
            number = whole_number(request, theirs)
            if number < least:
                detail = f"must be greater than {'or equal to ' if not least else ''}0"
                faults.append(invalid_field(theirs, number, detail))
            elif ours:
                options[ours] = str(number)
        seconds, since = request.param("sinceSeconds"), request.param("sinceTime")
        if seconds and since:
            detail = "at most one of `sinceTime` or `sinceSeconds` may be specified"
            faults.append(FieldError("FieldValueForbidden", "", detail))
        elif seconds:
            options["since"] = str(self._api.clock.now() - whole_number(request, "sinceSeconds"))
        elif since:
            try:
                options["since"] = str(from_iso8601(since))
            except ValueError as error:
                raise bad_request(f"sinceTime: {error}") from error
        if faults:
            shown = Resource("", "v1", "pods", "PodLogOptions", "pod", True)
            raise invalid(shown, name, faults)
        return options

    # Exec and attach

    async def exec(self, request: Request, resource: Resource, target: Target) -> Response:
        """pods/exec."""
        if not any(key == "command" for key, _ in request.query):
            raise bad_request("you must specify at least 1 command for the container")
        return self._run("exec", ("command",), request, resource, target)

    async def attach(self, request: Request, resource: Resource, target: Target) -> Response:
        """pods/attach."""
        return self._run("attach", (), request, resource, target)

    def _run(
        self,
        what: str,
        options: Sequence[str],
        request: Request,
        resource: Resource,
        target: Target,
    ) -> Response:
        pod = self._pod(resource, target)
        container = _container(pod, request.param("container"))
        node = _running(pod, container)
        asked = [name for name in ("stdin", "stdout", "stderr") if flag(request, name)]
        if not asked:
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        tty = flag(request, "tty")
        wanted = {{"stdin": 0, "stdout": 1, "stderr": 2}[name] for name in asked}
        wanted = wanted - {channels.STDERR} | {channels.RESIZE} if tty else wanted
        query = [(key, value) for key, value in request.query if key in options]
        query += [(name, "true") for name in ("stdin", "tty") if flag(request, name)]
        path = f"/{what}/{pod['metadata']['uid']}/{container}"

        async def run(client: channels.WebSocketChannels | channels.SpdyChannels) -> None:
            try:
                await client.open()
                agent = await self._link.connect(node, path, query)
            except SpdyError:
                return
            except (CallerFault, TryAgain) as error:
                await client.send(channels.failure_status(str(error)))
                await client.close()
                return
            await channels.join(client, agent)

        return _upgraded(request, wanted, run)

    # Port-forward

    async def port_forward(self, request: Request, resource: Resource, target: Target) -> Response:
        """pods/portforward."""
        pod = self._pod(resource, target)
        node = pod["spec"].get("nodeName")
        if not node:
            raise bad_request(f"pod {target.name} does not have a host assigned")
        phase = pod.get("status", {}).get("phase")
        if phase != "Running":
            raise bad_request(
                f"unable to forward port because pod is not running. Current status={phase}"
            )
        uid = pod["metadata"]["uid"]

        async def dial(port: int) -> Socket:
            try:
                return await self._link.connect(node, f"/portforward/{uid}/{port}", ())
            except CallerFault as error:
                raise CallerFault(
                    f"failed to connect to localhost:{port} inside the pod: {error}"
                ) from error

        async def run(socket: Socket) -> None:
            name = f"{target.name}, uid {uid}"
            await forwarding.Forwarder(socket, dial, name).run()

        offered = channels.offered_websockets(request)
        if offered is not None:
            return Response(upgrade=run, subprotocol=_agreed(offered, (forwarding.WEBSOCKET,)))
        offered = channels.offered_spdy(request)
        if offered is None:
            raise bad_request("Upgrade request required")
        if not request.headers.get(channels.PROTOCOL_HEADER):
            offered = [forwarding.PROTOCOL]
        return _spdy(run, _agreed(offered, (forwarding.PROTOCOL,)))


def _upgraded(request: Request, wanted: set[int], run: Any) -> Response:
    """The upgrade that the client asks for, with its channels handed to ``run``."""
    offered = channels.offered_websockets(request)
    if offered is not None:
        agreed = _agreed(offered, channels.WEBSOCKET)

        async def by_messages(socket: Socket) -> None:
            await run(channels.WebSocketChannels(socket, agreed, wanted))

        return Response(upgrade=by_messages, subprotocol=agreed)
    offered = channels.offered_spdy(request)
    if offered is None:
        raise bad_request("Upgrade request required")
    protocol = _agreed(offered, channels.SPDY)

    async def by_streams(socket: Socket) -> None:
        await run(channels.SpdyChannels(socket, protocol, wanted))

    return _spdy(by_streams, protocol)


def _spdy(run: Any, protocol: str) -> Response:
    headers = {"upgrade": "SPDY/3.1", channels.PROTOCOL_HEADER: protocol}
    return Response(101, headers=headers, upgrade=run, raw_upgrade=True)


def _agreed(offered: Sequence[str], served: Sequence[str]) -> str:
    """The first protocol of the client's that is served. Raises 403, which client libraries read
    as: do not try this again."""
    for name in offered:
        if name in served:
            return name
    raise ApiError(
        403,
        "Forbidden",
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}], "
        f"server accepts [{' '.join(name for name in served if name)}]",
    )


def _container(pod: Json, wanted: str) -> str:
    """The container that is meant. Raises 400 in kube-apiserver's words."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    names, inits, guests = (
        [item["name"] for item in spec.get(field) or []]
        for field in ("containers", "initContainers", "ephemeralContainers")
    )
    if wanted:
        if wanted not in names + inits + guests:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names) == 1:
        return str(names[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    if inits:
        text += f" or one of the init containers: [{' '.join(inits)}]"
    if guests:
        text += f" or one of the ephemeral containers: [{' '.join(guests)}]"
    raise bad_request(text)


def _container_status(pod: Json, container: str) -> Json | None:
    status = pod.get("status", {})
    found: list[Json] = [
        item
        for name in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        for item in status.get(name) or []
        if item["name"] == container
    ]
    return found[0] if found else None


def _waiting(status: Json | None) -> str:
    """Why a container has written nothing yet; "" where it has run."""
    if status is None:
        return "ContainerCreating"
    state = status.get("state") or {}
    if "waiting" in state and not status.get("lastState"):
        return str(state["waiting"].get("reason", "ContainerCreating"))
    return ""


def _running(pod: Json, container: str) -> str:
    """The node on which a container runs. Raises 400 and, as kubelet, 500 where it does not."""
    name = pod["metadata"]["name"]
    node = pod["spec"].get("nodeName")
    if not node:
        raise bad_request(f"pod {name} does not have a host assigned")
    status = _container_status(pod, container)
    if waiting := _waiting(status):
        raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {waiting}')
    if "running" not in ((status or {}).get("state") or {}):
        raise ApiError(500, "InternalError", f'container not found ("{container}")')
    return str(node)


async def _first(chunks: AsyncIterator[bytes]) -> bytes:
    """The first chunk, so that a refusal is still an error status."""
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        return b""
    except TryAgain as error:
        raise ApiError(503, "ServiceUnavailable", str(error)) from error
    except CallerFault as error:
        raise bad_request(str(error)) from error


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk
