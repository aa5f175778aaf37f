"""kubectl's streams to a running container: exec, cp, port-forward, proxy, logs."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Proa, eventually, fetch

POD = """
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: streams, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: setup, image: busybox, command: [echo, prepared]}
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "mkdir /www; echo hello > /www/index.html; httpd -p 8080 -h /www;
      echo one; echo two; echo three; exec sleep 1000"]
    ports: [{name: web, containerPort: 8080}]
  - name: reader
    image: busybox
    stdin: true
    command: [sh, -c, "while read line; do echo got $line; done"]
  - name: screen
    image: busybox
    stdin: true
    tty: true
    command: [sh, -c, "while true; do sh; done"]
  - name: crashed
    image: busybox
    command: [sh, -c, "echo attempt; sleep 1; exit 3"]
---
apiVersion: v1
kind: Service
metadata: {name: box, namespace: streams}
spec: {selector: {app: box}, publishNotReadyAddresses: true, ports: [{port: 80, targetPort: web}]}
"""
WAYS = ["true", "false"]  # WebSockets, and SPDY as clients before 1.30 speak it


@pytest.fixture(scope="module")
def box(proa: Proa) -> Iterator[Proa]:
    proa.kubectl("create namespace streams")
    proa.apply(POD)
    ready = "get pod box -n streams -o jsonpath={.status.containerStatuses[0].ready}"
    eventually(lambda: proa.kubectl(ready) == "true", what="the pod runs")
    yield proa
    proa.kubectl("delete namespace streams --wait=false")


def run(proa: Proa, line: str, way: str = "true", stdin: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", line],
        input=stdin,
        env={
            **proa.environment,
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": way,
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": way,
        },
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


EXEC = "kubectl exec -n streams -c main"


@pytest.mark.parametrize("way", WAYS)
def test_exec_tells_output_apart_and_returns_the_exit_code(box: Proa, way: str) -> None:
    code, out, err = run(box, f"{EXEC} box -- sh -c 'echo out; echo err >&2; exit 7'", way)
    assert (code, out) == (7, "out\n")
    assert err.splitlines()[0] == "err"


@pytest.mark.parametrize("way", WAYS)
def test_exec_passes_standard_input_to_its_end(box: Proa, way: str) -> None:
    sent = bytes(range(256)) * 4000
    assert run(box, f"{EXEC} -i box -- wc -c", way, sent)[:2] == (0, f"{len(sent)}\n")


@pytest.mark.parametrize("way", WAYS)
def test_exec_gives_a_terminal_of_the_users_size(box: Proa, way: str) -> None:
    inner = f"stty cols 101 rows 33; {EXEC} -it box -- sh -c 'sleep 1; stty size; tty'"
    code, out, err = run(box, f'SHELL=/bin/sh script -qec "{inner}" /dev/null', way)
    assert code == 0, err
    assert "33 101" in out
    assert "/dev/pts/" in out


@pytest.mark.parametrize("way", WAYS)
def test_attach_joins_a_running_container(box: Proa, way: str) -> None:
    line = "(sleep 1; echo hello; sleep 2) | timeout 4 kubectl attach -n streams -i box -c reader"
    assert "got hello\n" in run(box, line, way)[1]


@pytest.mark.parametrize("way", WAYS)
def test_attach_joins_a_terminal_and_resizes_it(box: Proa, way: str) -> None:
    typed = "(for _ in 1 2 3; do sleep 1; echo stty size; done; sleep 1) | SHELL=/bin/sh "
    attach = "timeout --foreground 5 kubectl attach -n streams -it box -c screen"
    inner = f"stty cols 99 rows 22; {attach}"
    _, out, _ = run(box, f"{typed} script -qec '{inner}' /dev/null", way)
    assert "22 99" in out


def test_directories_are_copied_both_ways(box: Proa, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "below").mkdir(parents=True)
    (there / "a").write_text("one")
    (there / "below" / "b").write_bytes(bytes(range(256)) * 5000)
    box.kubectl(f"cp -c main {there} streams/box:/tmp/copied")
    box.kubectl(f"cp -c main streams/box:/tmp/copied {tmp_path}/back")
    assert (tmp_path / "back" / "a").read_text() == "one"
    assert (tmp_path / "back" / "below" / "b").read_bytes() == bytes(range(256)) * 5000


@contextlib.contextmanager
def forwarding(proa: Proa, what: str, way: str) -> Iterator[tuple[str, Path]]:
    """The URL of a forwarded port, and where kubectl writes what goes wrong."""
    errors = proa.data_dir / "port-forward.err"
    with errors.open("wb") as said:
        process = subprocess.Popen(
            ["kubectl", "port-forward", "-n", "streams", *what.split()],
            env={**proa.environment, "KUBECTL_PORT_FORWARD_WEBSOCKETS": way},
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"127.0.0.1:(\d+)", line)
            assert found, line + errors.read_text()
            yield f"http://127.0.0.1:{found[1]}/", errors
        finally:
            process.terminate()
            process.communicate()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["pod/box :8080", "svc/box :80"])
def test_ports_are_forwarded_for_many_connections(box: Proa, way: str, what: str) -> None:
    with forwarding(box, what, way) as (url, _):
        assert [fetch(url) for _ in range(5)] == ["hello\n"] * 5


def test_a_port_on_which_nothing_listens_is_told(box: Proa) -> None:
    with forwarding(box, "pod/box :99", "true") as (url, errors):
        with pytest.raises(OSError):
            fetch(url)
        eventually(lambda: "failed to connect to localhost:99" in errors.read_text())


@pytest.mark.parametrize(
    "path",
    ["pods/box:8080/proxy/", "pods/box/proxy/index.html", "services/http:box:80/proxy/?a=b"],
)
def test_http_goes_through_the_api(box: Proa, path: str) -> None:
    assert box.kubectl(f"get --raw /api/v1/namespaces/streams/{path}") == "hello\n"


def test_what_the_proxy_cannot_reach_is_an_error_of_the_api(box: Proa) -> None:
    raw = "kubectl get --raw /api/v1/namespaces/streams"
    assert "error trying to reach service" in run(box, f"{raw}/pods/box:99/proxy/")[2]
    assert 'pods "none" not found' in run(box, f"{raw}/pods/none/proxy/")[2]
    assert "no service port 81 found" in run(box, f"{raw}/services/box:81/proxy/")[2]


def test_logs_are_cut_as_asked(box: Proa) -> None:
    logs = "logs box -n streams -c main"
    assert box.kubectl(logs) == "one\ntwo\nthree\n"
    assert box.kubectl(f"{logs} --tail=1") == "three\n"
    assert box.kubectl(f"{logs} --limit-bytes=5") == "one\nt"
    assert box.kubectl(f"{logs} --since-time=2100-01-01T00:00:00Z") == ""
    stamped = box.kubectl(f"{logs} --timestamps --tail=1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z three\n", stamped)
    assert box.kubectl("logs box -n streams -c setup") == "prepared\n"
    every = box.kubectl("logs -n streams -l app=box --all-containers --prefix")
    assert "[pod/box/main] two" in every
    assert "[pod/box/setup] prepared" in every


def test_the_log_of_the_attempt_before_stays_readable(box: Proa) -> None:
    line = "kubectl logs box -n streams -c crashed --previous"
    eventually(lambda: run(box, line)[1] == "attempt\n", what="a previous attempt's log")
    said = run(box, "kubectl logs box -n streams -c main --previous")[2]
    assert 'previous terminated container "main" in pod "box" not found' in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("exec -n streams none -- ls", 'pods "none" not found'),
        ("exec -n streams box -c none -- ls", "container none is not valid for pod box"),
        ("logs -n streams box -c none", "container none is not valid for pod box"),
        ("logs -n streams none", 'pods "none" not found'),
        (
            "get --raw '/api/v1/namespaces/streams/pods/box/log?container=main&tailLines=-5'",
            "tailLines: Invalid value: -5: must be greater than or equal to 0",
        ),
        ("exec -n streams box -c main -- /no/such/file", "no such file"),
    ],
)
def test_what_cannot_be_streamed_is_refused(box: Proa, line: str, said: str) -> None:
    code, out, err = run(box, f"kubectl {line}")
    assert code != 0
    assert out == ""
    assert said in err
