"""The proxy subresource: HTTP through the API to a pod, or to a pod behind a Service.

``server`` calls ``Proxy.answer`` for pods/proxy and services/proxy. The connection is one that
port-forward would use, so the pod needs no address that this process can reach. Answers are
passed on as they come; upgrades (a WebSocket of the pod's own) become plain bytes both ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import h11
import orjson

from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response, Socket
from proa.kube.api.call import ApiError
from proa.kube.api.channels import join
from proa.kube.api.context import Api, Json
from proa.kube.api.failures import bad_request, not_found
from proa.kube.api.node_link import NodeLink
from proa.kube.api.paths import Target
from proa.kube.schema.kinds import Resource

ANSWER_S = 300.0  # until an answer must have begun
_SERVICE_LABEL = "kubernetes.io/service-name"
_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
_NOT_SENT = _HOP | {"authorization", "host", "content-length", "transfer-encoding", "upgrade"}
_NOT_RETURNED = _HOP | {"transfer-encoding"}


@dataclass(slots=True, frozen=True)
class Place:
    """Where the other end is."""

    node: str
    uid: str
    address: str
    port: int


class Proxy:
    """One cluster's."""

    def __init__(self, api: Api, link: NodeLink) -> None:
        self._api, self._link = api, link

    async def answer(self, request: Request, resource: Resource, target: Target) -> Response:
        """Raises ApiError: 400, 404, 501 for nodes, and 503 where nothing answers."""
        if resource.name not in ("pods", "services"):
            message = f"proxy of {resource.group_resource} is not served: its agent has no HTTP API"
            raise ApiError(501, "NotImplemented", message)
        await self._api.fresh()
        name, port = _name_and_port(target.name)
        if resource.name == "pods":
            place = self._pod(resource, target.namespace, name, port)
        else:
            place = self._behind(resource, target.namespace, name, port)
        at, rest = _split(request.path)
        if not rest:
            where = f"{at}/" + (f"?{request.raw_query}" if request.raw_query else "")
            return Response(301, headers={"location": where})
        try:
            agent = await self._link.connect(
                place.node, f"/portforward/{place.uid}/{place.port}", ()
            )
        except (CallerFault, TryAgain) as error:
            raise _unreachable(str(error)) from error
        exchange = _Exchange(agent, f"{place.address}:{place.port}", at)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await exchange.run(request, rest)
        except TimeoutError as error:
            await agent.close()
            message = "Timeout: request did not complete within the allotted timeout"
            raise ApiError(504, "Timeout", message) from error
        except (h11.ProtocolError, TryAgain, ConnectionError) as error:
            await agent.close()
            raise _unreachable(str(error)) from error

    def _pod(self, resource: Resource, namespace: str, name: str, port: str) -> Place:
        entry = self._api.entry(resource, namespace, name)
        if entry is None:
            raise not_found(resource, name)
        pod = orjson.loads(entry.body)
        node, address = pod["spec"].get("nodeName"), pod.get("status", {}).get("podIP")
        if not node or not address:
            raise bad_request(f"address not allowed: pod {name} has no address yet")
        return Place(node, pod["metadata"]["uid"], address, _pod_port(pod, port))

    def _behind(self, resource: Resource, namespace: str, name: str, port: str) -> Place:
        """A ready pod of a Service, by chance."""
        entry = self._api.entry(resource, namespace, name)
        if entry is None:
            raise not_found(resource, name)
        port_name = _port_name(orjson.loads(entry.body), name, port)
        slices = self._api.builtin("discovery.k8s.io", "endpointslices")
        found: list[tuple[str, int]] = []
        for item in self._api.entries(slices, namespace):
            if item.value.metadata.labels.get(_SERVICE_LABEL) == name:
                found += _ready(orjson.loads(item.body), port_name)
        pods = self._api.builtin("", "pods")
        while found:
            pod_name, number = found.pop(self._api.chance.integer(0, len(found) - 1))
            if self._api.entry(pods, namespace, pod_name) is not None:
                return self._pod(pods, namespace, pod_name, str(number))
        raise ApiError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')


class _Exchange:
    """One request and its answer over a connection; ``at`` is the proxy's own path."""

    def __init__(self, agent: Socket, host: str, at: str) -> None:
        self._agent, self._host, self._at = agent, host, at
        self._http = h11.Connection(h11.CLIENT)

    async def run(self, request: Request, path: str) -> Response:
        headers = [(key, value) for key, value in request.headers.items() if key not in _NOT_SENT]
        headers = [("host", self._host), *headers, ("x-forwarded-uri", self._at)]
        if request.peer.address:
            headers.append(("x-forwarded-for", request.peer.address))
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            headers.append(("content-length", str(len(request.body))))
        upgrade = request.headers.get("upgrade")
        if upgrade:
            headers += [("upgrade", upgrade), ("connection", "Upgrade")]
        query = f"?{request.raw_query}" if request.raw_query else ""
        await self._send(
            h11.Request(method=request.method, target=f"{path}{query}", headers=headers)
        )
        if request.body:
            await self._send(h11.Data(data=request.body))
        await self._send(h11.EndOfMessage())
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return Response(event.status_code, headers=self._shown(event), stream=self._body())
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return self._switched(event)
            if not isinstance(event, h11.InformationalResponse):
                raise TryAgain("the connection ended before an answer")

    async def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self._agent.send(data)

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._agent.receive() or b"")
        return event

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            while isinstance(event := await self._next(), h11.Data):
                yield bytes(event.data)
        finally:
            await self._agent.close()

    def _shown(self, event: h11.Response | h11.InformationalResponse) -> dict[str, str]:
        """Headers for the client; a redirection within the pod stays within the proxy."""
        shown: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode().lower(), raw_value.decode("latin-1")
            if name == "location":
                value = value.removeprefix(f"http://{self._host}")
                value = f"{self._at}{value}" if value.startswith("/") else value
            if name not in _NOT_RETURNED:
                shown[name] = value
        return shown

    def _switched(self, event: h11.InformationalResponse) -> Response:
        early, _ = self._http.trailing_data

        async def run(client: Socket) -> None:
            if early:
                await client.send(early)
            await join(client, self._agent)

        return Response(101, headers=self._shown(event), upgrade=run, raw_upgrade=True)


def _name_and_port(text: str) -> tuple[str, str]:
    """``[scheme:]name[:port]``. Raises 400."""
    parts = text.split(":")
    if len(parts) == 3:
        scheme, name, port = parts
    elif len(parts) <= 2:
        scheme, (name, port) = "", (parts[0], parts[1] if len(parts) == 2 else "")
    else:
        raise bad_request(f"invalid pod or service request {text!r}")
    if scheme == "https":
        raise ApiError(501, "NotImplemented", "the proxy does not speak TLS to pods yet")
    if scheme not in ("", "http") or not name:
        raise bad_request(f"invalid pod or service request {text!r}")
    return name, port


def _split(path: str) -> tuple[str, str]:
    """A request's path up to the subresource, and what follows it, percent-encoded as sent."""
    head = "/".join(path.split("/")[:8])
    return head, path[len(head) :]


def _pod_port(pod: Json, wanted: str) -> int:
    ports = [
        item
        for container in pod["spec"].get("containers", [])
        for item in container.get("ports") or []
    ]
    if not wanted:
        return int(ports[0]["containerPort"]) if ports else 80
    if not wanted.isdigit() or not 0 < int(wanted) < 65536:
        raise bad_request(f'invalid port "{wanted}"')
    return int(wanted)


def _port_name(service: Json, name: str, wanted: str) -> str:
    """The name of a Service's port, which its EndpointSlices use. Raises 503 as upstream."""
    ports = service["spec"].get("ports") or []
    if not wanted:
        return str(ports[0].get("name", "")) if len(ports) == 1 else ""
    if not wanted.isdigit():
        return wanted
    for port in ports:
        if port["port"] == int(wanted):
            return str(port.get("name", ""))
    raise ApiError(
        503, "ServiceUnavailable", f'no service port {wanted} found for service "{name}"'
    )


def _ready(slice_: Json, port_name: str) -> list[tuple[str, int]]:
    """(pod, port) of the ready endpoints of a slice."""
    numbers = [
        port["port"] for port in slice_.get("ports") or [] if (port.get("name") or "") == port_name
    ]
    if not numbers:
        return []
    return [
        (endpoint["targetRef"]["name"], numbers[0])
        for endpoint in slice_.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        and (endpoint.get("targetRef") or {}).get("kind") == "Pod"
    ]


def _unreachable(why: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", f"error trying to reach service: {why}")
