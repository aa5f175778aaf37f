"""The demo images: what they contain, that they are the same every time, and how they come in."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.http import Request
from proa.serve.images import build
from proa.serve.registry import Registry
from proa.serve.registry_import import import_layout
from proa.server.http import Shell
from proa.store.blobs import FileBlobs, digest_of

Built = list[tuple[tuple[str, ...], Path]]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("images"))


def layout_of(layouts: Built, reference: str) -> Path:
    (found,) = (layout for references, layout in layouts if reference in references)
    return found


def blob(layout: Path, digest: str) -> bytes:
    content = (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert digest_of(content) == digest
    return content


def opened(layout: Path) -> tuple[dict[str, Any], tarfile.TarFile]:
    """An image's configuration and its one layer."""
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(layout, entry["digest"]))
    config = json.loads(blob(layout, manifest["config"]["digest"]))
    (layer,) = manifest["layers"]
    tar = gzip.decompress(blob(layout, layer["digest"]))
    assert config["rootfs"]["diff_ids"] == [digest_of(tar)]
    return config, tarfile.open(fileobj=io.BytesIO(tar))


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        (
            "docker.io/library/nginx:alpine",
            {"StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}},
        ),
        ("123456789.dkr.ecr.ap-northeast-2.amazonaws.com/web:latest", {"StopSignal": "SIGQUIT"}),
        ("docker.io/library/busybox:1.36", {"Cmd": ["sh"]}),
        ("docker.io/library/busybox:latest", {"Cmd": ["sh"]}),
        ("docker.io/proa/echo:latest", {"ExposedPorts": {"3000/tcp": {}}}),
        ("123456789.dkr.ecr.us-east-1.amazonaws.com/web-app:v1.2.3", {"Cmd": ["/bin/echo-server"]}),
        ("registry.k8s.io/pause:3.9", {"Entrypoint": ["/pause"]}),
    ],
)  # fmt: skip
def test_image_says_how_it_is_run(layouts: Built, reference: str, wanted: dict[str, Any]) -> None:
    config, layer = opened(layout_of(layouts, reference))
    assert {name: config["config"].get(name) for name in wanted} == wanted
    command = (config["config"].get("Entrypoint") or config["config"]["Cmd"])[0]
    names = {name.lstrip("/") for name in layer.getnames()}
    assert any(f"{folder}{command}".lstrip("/") in names for folder in ("", "bin/", "usr/sbin/"))


def test_same_machine_makes_the_same_digests_and_builds_once(
    layouts: Built, tmp_path: Path
) -> None:
    again = build(tmp_path)
    indexes = [(references, (path / "index.json").read_bytes()) for references, path in again]
    assert indexes == [
        (references, (path / "index.json").read_bytes()) for references, path in layouts
    ]
    made = {path: path.stat().st_ino for _, path in again}
    assert {path: path.stat().st_ino for _, path in build(tmp_path)} == made


def test_layers_hold_no_traces_of_their_making(layouts: Built) -> None:
    for _, layout in layouts:
        for member in opened(layout)[1].getmembers():
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")


def program(layouts: Built, reference: str, name: str, folder: Path) -> Path:
    """A static program out of an image's layer, ready to run."""
    file = opened(layout_of(layouts, reference))[1].extractfile(name)
    assert file is not None
    path = folder / Path(name).name
    path.write_bytes(file.read())
    path.chmod(0o755)
    return path


class Echo:
    """A running echo server."""

    def __init__(self, binary: Path, on_sigterm: str) -> None:
        self.port = _free_port()
        self.process = subprocess.Popen(
            [str(binary)],
            env={"PORT": str(self.port), "ON_SIGTERM": on_sigterm},
            stdout=subprocess.PIPE,
            text=True,
        )

    def get(self, path: str) -> tuple[int, Any]:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)
            except urllib.error.URLError:
                assert self.process.poll() is None, "the echo server ended"
                time.sleep(0.02)
        raise AssertionError("the echo server never listened")


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture
def echo(layouts: Built, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Echo]:
    binary = program(layouts, "docker.io/proa/echo:latest", "bin/echo-server", tmp_path)
    server = Echo(binary, request.param)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


@pytest.mark.parametrize("echo", ["exit"], indirect=True)
def test_echo_answers_and_logs_a_line_a_request(echo: Echo) -> None:
    assert echo.get("/health") == (200, {"status": "ok"})
    assert echo.get("/ready") == (200, {"status": "ok"})
    assert echo.get("/a/b?c=1") == (200, {"hostname": os.uname().nodename, "path": "/a/b?c=1"})
    assert echo.get("/slow?ms=20")[0] == 200
    assert echo.get("/%22quoted%5C")[1]["path"] == "/%22quoted%5C"
    echo.process.terminate()
    output, _ = echo.process.communicate(timeout=20)
    assert output.splitlines()[:2] == ["GET /health 200", "GET /ready 200"]
    assert echo.process.returncode == 0


@pytest.mark.parametrize("echo", ["ignore"], indirect=True)
def test_echo_ignores_sigterm_when_told(echo: Echo) -> None:
    echo.get("/health")
    echo.process.terminate()
    assert echo.get("/ready") == (200, {"status": "ok"})


@pytest.mark.parametrize("echo", ["drain:30"], indirect=True)
def test_echo_drains_when_told(echo: Echo) -> None:
    echo.get("/health")
    echo.process.terminate()
    while echo.get("/ready")[0] == 200:
        pass
    assert echo.get("/ready") == (503, {"status": "draining"})
    assert echo.get("/other")[0] == 200
    echo.process.send_signal(signal.SIGALRM)
    assert echo.process.wait(timeout=20) == 0


def registry_at(folder: Path) -> Registry:
    return Registry(FileBlobs(folder, Chance("images")), folder, SystemClock())


async def digest_at(registry: Registry, host: str, path: str, tag: str) -> str:
    request = Request("HEAD", f"/v2/{path}/manifests/{tag}", (("ns", host),))
    answer = await registry.handle(request)
    return answer.headers.get("docker-content-digest", "")


def test_import_leaves_a_tag_that_a_user_moved(layouts: Built, tmp_path: Path) -> None:
    nginx = layout_of(layouts, "docker.io/library/nginx:alpine")
    busybox = layout_of(layouts, "docker.io/library/busybox:latest")

    async def main() -> None:
        registry = registry_at(tmp_path)
        mine, moved = "docker.io/library/web:mine", "docker.io/library/web:ours"
        await import_layout(registry, nginx, [mine, moved])
        old = await digest_at(registry, "docker.io", "library/web", "mine")
        body = Path(nginx, "blobs", "sha256", old.removeprefix("sha256:")).read_bytes()
        await import_layout(registry, busybox, [moved])
        new = await digest_at(registry, "docker.io", "library/web", "ours")
        assert old != new, "what Proa itself put there is replaced by its newer image"
        pushed = await registry.handle(
            Request("PUT", "/v2/docker.io/library/web/manifests/ours", body=body)
        )
        assert pushed.status == 201
        await import_layout(registry, busybox, [moved])
        assert await digest_at(registry, "docker.io", "library/web", "ours") == old

    asyncio.run(main())


def test_skopeo_copies_an_image_in_and_out(layouts: Built, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    assert skopeo is not None, "this test needs skopeo: apt-get install skopeo"
    busybox = layout_of(layouts, "docker.io/library/busybox:latest")

    async def copy(*arguments: str) -> None:
        flags = ["--insecure-policy", "copy", "--quiet"]
        process = await asyncio.create_subprocess_exec(
            skopeo, *flags, *arguments, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, errors.decode()

    async def main() -> None:
        registry = registry_at(tmp_path / "registry")
        shell = Shell(registry.handle, streams=lambda _, path: "/blobs/uploads/" in path)
        await shell.start("127.0.0.1", 0)
        place = f"docker://127.0.0.1:{shell.port}"
        try:
            await copy("--dest-tls-verify=false", f"oci:{busybox}", f"{place}/team/box:v1")
            await copy(
                "--src-tls-verify=false", "--dest-tls-verify=false",
                f"{place}/team/box:v1", f"{place}/other/box:v2",
            )  # fmt: skip
            target = tmp_path / "out"
            await copy("--src-tls-verify=false", f"{place}/other/box:v2", f"dir:{target}")
        finally:
            await shell.close()
        manifest = (target / "manifest.json").read_bytes()
        pushed = digest_of(manifest)
        assert json.loads((busybox / "index.json").read_text())["manifests"][0]["digest"] == pushed
        named = json.loads(manifest)
        for each in (named["config"], *named["layers"]):
            content = (target / each["digest"].removeprefix("sha256:")).read_bytes()
            assert digest_of(content) == each["digest"] and len(content) == each["size"]

    asyncio.run(main())
