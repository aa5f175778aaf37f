"""log, exec, attach, port-forward and proxy as requests: what is refused before an upgrade, and
what is asked of the agent."""

from __future__ import annotations

import asyncio
import json

import pytest

from proa.base.http import Response
from tests.unit.kube.api.served import DEFAULT, Client, Json, pod, said, serving
from tests.unit.kube.api.streaming import ScriptedLink, SpdyPeer, Wire

POD = f"{DEFAULT}/pods/web"
MERGE = "application/merge-patch+json"
RUNNING = {"name": "main", "image": "one", "imageID": "", "ready": True, "restartCount": 1,
           "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
           "lastState": {"terminated": {"exitCode": 1}}}  # fmt: skip
V5 = {"upgrade": "websocket", "sec_websocket_protocol": "v5.channel.k8s.io"}


async def running(client: Client, state: Json | None = None, **status: object) -> str:
    """A pod on a node; its uid."""
    made = await client.make(f"{DEFAULT}/pods", pod("web", node="n1"))
    reported = {**RUNNING, **(state or {})}
    body = {"status": {"phase": "Running", "podIP": "10.0.0.9", "containerStatuses": [reported],
                       **status}}  # fmt: skip
    done = await client.ask("PATCH", f"{POD}/status", body, MERGE)
    assert done.status == 200, done.body
    return str(made["metadata"]["uid"])


async def upgraded(answer: Response, wire: Wire) -> list[bytes]:
    """What a client gets once it is upgraded."""
    assert answer.upgrade is not None, answer.body
    await asyncio.wait_for(answer.upgrade(wire), 60)
    return wire.heard()


def test_exec_asks_the_agent_for_the_command_and_joins_its_client() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        agent = link.sockets[f"/exec/{uid}/main"] = Wire()
        agent.says(b"\1out", b'\3{"status":"Success"}', None)
        path = f"{POD}/exec?command=sh&command=-c&stdout=true&stdin=true&tty=true&stderr=true"
        answer = await client.ask("GET", path, **V5)
        assert answer.subprotocol == "v5.channel.k8s.io"
        heard = await upgraded(answer, Wire())
        assert heard == [b"\1", b"\1out", b'\3{"status":"Success"}']
        query = [("command", "sh"), ("command", "-c"), ("stdin", "true"), ("tty", "true")]
        assert link.asked == [(f"/exec/{uid}/main", query)]

    serving(check, link)


def test_what_the_agent_refuses_after_the_upgrade_is_a_status_on_the_error_channel() -> None:
    async def check(client: Client) -> None:
        await running(client)
        answer = await client.ask("GET", f"{POD}/attach?stdout=true", **V5)
        heard = await upgraded(answer, Wire())
        status = json.loads(heard[-1][1:])
        assert (heard[-1][0], status["status"], status["code"]) == (3, "Failure", 500)
        assert "connection refused" in status["message"]

    serving(check, ScriptedLink())


def test_clients_without_websockets_are_served_by_spdy() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        agent = link.sockets[f"/exec/{uid}/main"] = Wire()
        agent.says(b"\1out", b'\3{"status":"Success"}', None)
        offered = "v5.channel.k8s.io, v4.channel.k8s.io, channel.k8s.io"
        headers = {"upgrade": "SPDY/3.1", "x_stream_protocol_version": offered}
        answer = await client.ask("POST", f"{POD}/exec?command=ls&stdout=true", **headers)
        assert (answer.status, answer.raw_upgrade) == (101, True)
        assert answer.headers["x-stream-protocol-version"] == "v4.channel.k8s.io"
        wire, peer = Wire(), SpdyPeer()
        wire.says(peer.open(1, streamtype="error") + peer.open(3, streamtype="stdout"))
        streams = peer.streams(b"".join(await upgraded(answer, wire)))
        assert streams[3] == (b"out", True)

    serving(check, link)


def test_forwarding_needs_its_own_protocol_and_reaches_the_pods_port() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        pod_side = link.sockets[f"/portforward/{uid}/80"] = Wire()
        pod_side.says(b"answer", None)
        headers = {"upgrade": "websocket",
                   "sec_websocket_protocol": "SPDY/3.1+portforward.k8s.io"}  # fmt: skip
        answer = await client.ask("GET", f"{POD}/portforward", **headers)
        assert answer.subprotocol == "SPDY/3.1+portforward.k8s.io"
        wire, peer = Wire(), SpdyPeer()
        named = {"port": "80", "requestid": "1"}
        wire.says(peer.open(1, streamtype="error", **named))
        wire.says(peer.open(3, streamtype="data", **named))
        task = asyncio.ensure_future(upgraded(answer, wire))
        await asyncio.sleep(1)
        wire.says(None)
        assert peer.streams(b"".join(await task))[3] == (b"answer", True)
        answer = await client.ask("GET", f"{POD}/portforward", **V5)
        assert answer.status == 403
        assert "unable to negotiate protocol" in said(answer)["message"]

    serving(check, link)


WAITING = {"state": {"waiting": {"reason": "ImagePullBackOff"}}, "lastState": {}}
ENDED = {"state": {"terminated": {"exitCode": 0}}}
REFUSED = [
    ("exec?stdout=1", {}, V5, 400, "you must specify at least 1 command for the container"),
    ("exec?command=ls", {}, V5, 400, "you must specify at least 1 of stdin, stdout, stderr"),
    ("exec?command=ls&stdout=1", {}, {}, 400, "Upgrade request required"),
    ("exec?command=ls&stdout=1&container=no", {}, V5, 400, "container no is not valid for pod web"),
    ("exec?command=ls&stdout=1", WAITING, V5, 400,
     'container "main" in pod "web" is waiting to start: ImagePullBackOff'),
    ("exec?command=ls&stdout=1", ENDED, V5, 500, 'container not found ("main")'),
    ("exec?command=ls&stdout=1", {},
     {"upgrade": "websocket", "sec_websocket_protocol": "v9.channel.k8s.io"}, 403,
     "client supports [v9.channel.k8s.io]"),
    ("attach?stdout=1", WAITING, V5, 400, "is waiting to start"),
    ("log", WAITING, {}, 400, "is waiting to start: ImagePullBackOff"),
    ("log?container=no", {}, {}, 400, "container no is not valid for pod web"),
    ("log?previous=true", {"lastState": {}}, {}, 400,
     'previous terminated container "main" in pod "web" not found'),
    ("log?tailLines=-1", {}, {}, 422, "tailLines: Invalid value: -1: must be greater than or"),
    ("log?limitBytes=0", {}, {}, 422, "limitBytes: Invalid value: 0: must be greater than 0"),
    ("log?sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z", {}, {}, 422, "at most one of"),
    ("log?sinceTime=yesterday", {}, {}, 400, "sinceTime"),
    ("portforward", {}, {}, 400, "Upgrade request required"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "state", "headers", "code", "text"), REFUSED)
def test_what_cannot_be_streamed_is_refused_before_an_upgrade(
    path: str, state: Json, headers: dict[str, str], code: int, text: str
) -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        await running(client, state)
        answer = await client.ask("GET", f"{POD}/{path}", **headers)
        assert answer.status == code, answer.body
        assert text in said(answer)["message"]
        assert link.asked == []

    serving(check, link)


def test_a_pod_of_several_containers_wants_a_name() -> None:
    async def check(client: Client) -> None:
        body = pod("two", node="n1")
        body["spec"]["containers"].append({"name": "side", "image": "one"})
        body["spec"]["initContainers"] = [{"name": "first", "image": "one"}]
        await client.make(f"{DEFAULT}/pods", body)
        answer = await client.ask("GET", f"{DEFAULT}/pods/two/log")
        assert said(answer)["message"] == (
            "a container name must be specified for pod two, choose one of: [main side] or one of "
            "the init containers: [first]"
        )

    serving(check)


def test_logs_are_asked_for_as_the_query_says_also_over_a_websocket() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        path = f"{POD}/log?tailLines=5&limitBytes=9&timestamps=true&follow=false&previous=true"
        answer = await client.ask("GET", path)
        assert answer.stream is not None
        assert b"".join([chunk async for chunk in answer.stream]) == b"first\nsecond\n"
        options = [("limit", "9"), ("previous", "true"), ("tail", "5"), ("timestamps", "true")]
        assert link.asked == [(f"/logs/{uid}/main", options)]
        headers = {"upgrade": "websocket", "sec_websocket_protocol": "base64.binary.k8s.io"}
        heard = await upgraded(await client.ask("GET", f"{POD}/log", **headers), Wire())
        assert heard == [b"Zmlyc3QK", b"c2Vjb25kCg=="]

    serving(check, link)


# The proxy


def listening(link: ScriptedLink, uid: str, port: int, *says: bytes | None) -> Wire:
    wire = link.sockets[f"/portforward/{uid}/{port}"] = Wire()
    wire.says(*says)
    return wire


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-own: yes\r\n\r\nhi"


def test_a_request_goes_to_the_pod_without_the_callers_credentials() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        wire = listening(link, uid, 8080, OK[:20], OK[20:])
        path = f"{DEFAULT}/pods/web:8080/proxy/a/b?x=1"
        answer = await client.ask("POST", path, b"body", "text/plain", x_mine="1")
        assert (answer.status, answer.headers["x-own"]) == (200, "yes")
        assert answer.stream is not None
        assert b"".join([chunk async for chunk in answer.stream]) == b"hi"
        sent = b"".join(wire.heard())
        head, _, body = sent.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /a/b?x=1 HTTP/1.1\r\nhost: 10.0.0.9:8080\r\n")
        assert b"authorization" not in head.lower()
        assert b"x-mine: 1" in head
        assert body == b"body"

    serving(check, link)


def test_redirections_stay_within_the_proxy() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        moved = b"HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n"
        listening(link, uid, 80, moved)
        at = f"{DEFAULT}/pods/http:web:80/proxy"
        answer = await client.ask("GET", f"{at}/here")
        assert answer.headers["location"] == f"{at}/there"
        bare = await client.ask("GET", f"{at}?q=1")
        assert (bare.status, bare.headers["location"]) == (301, f"{at}/?q=1")

    serving(check, link)


def test_a_pods_own_upgrade_goes_through() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        switched = (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: Upgrade\r\n\r\nearly"
        )
        wire = listening(link, uid, 80, switched)
        answer = await client.ask("GET", f"{DEFAULT}/pods/web:80/proxy/", upgrade="echo")
        assert (answer.status, answer.raw_upgrade, answer.headers["upgrade"]) == (101, True, "echo")
        wire.says(b"late", None)
        assert await upgraded(answer, Wire()) == [b"early", b"late"]

    serving(check, link)


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("pods/web:99/proxy/", 503, "error trying to reach service: connection refused"),
        ("pods/web:0/proxy/", 400, 'invalid port "0"'),
        ("pods/none/proxy/", 404, 'pods "none" not found'),
        ("pods/ftp:web:80/proxy/", 400, "invalid pod or service request"),
        ("pods/https:web:80/proxy/", 501, "does not speak TLS"),
        ("services/none/proxy/", 404, 'services "none" not found'),
        ("services/web/proxy/", 503, 'no endpoints available for service "web"'),
        ("services/web:81/proxy/", 503, 'no service port 81 found for service "web"'),
    ],
)
def test_what_cannot_be_reached_is_told(path: str, code: int, text: str) -> None:
    async def check(client: Client) -> None:
        await running(client)
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                   "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}  # fmt: skip
        await client.make(f"{DEFAULT}/services", service)
        answer = await client.ask("GET", f"{DEFAULT}/{path}")
        assert answer.status == code, answer.body
        assert text in said(answer)["message"]
        assert (await client.ask("GET", "/api/v1/nodes/n1/proxy/stats")).status == 501

    serving(check, ScriptedLink())


def test_an_answer_that_is_no_http_is_an_error() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        wire = listening(link, uid, 80, b"SSH-2.0-OpenSSH\r\n\r\n")
        answer = await client.ask("GET", f"{DEFAULT}/pods/web:80/proxy/")
        assert (answer.status, said(answer)["reason"]) == (503, "ServiceUnavailable")
        assert wire.outwards.qsize() == 2  # the request, and the end of the connection

    serving(check, link)


def test_a_pod_that_does_not_answer_is_given_up() -> None:
    link = ScriptedLink()

    async def check(client: Client) -> None:
        uid = await running(client)
        listening(link, uid, 80, b"HTTP/1.1 200")
        answer = await client.ask("GET", f"{DEFAULT}/pods/web:80/proxy/")
        assert (answer.status, said(answer)["reason"]) == (504, "Timeout")

    serving(check, link)
