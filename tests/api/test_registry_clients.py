"""Proa's image registry as skopeo, buildah, podman and containerd see it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Proa, eventually


@pytest.fixture(scope="module")
def registry(proa: Proa) -> str:
    """Its host and port."""
    port = json.loads((proa.data_dir / "config.json").read_text())["registry_port"]
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def storage(proa: Proa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Local storage of buildah and podman that is not the machine's."""
    folder = tmp_path_factory.mktemp("storage")
    config = folder / "storage.conf"
    config.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    proa.environment["CONTAINERS_STORAGE_CONF"] = str(config)
    yield folder
    del proa.environment["CONTAINERS_STORAGE_CONF"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digest_at(proa: Proa, image: str) -> str:
    """What a tag is at, as skopeo computes it."""
    shown = proa.run(f"skopeo inspect --raw --tls-verify=false docker://{image}").stdout
    return f"sha256:{hashlib.sha256(shown.encode()).hexdigest()}"


def test_pushed_image_is_pulled_back_whole_and_runs(
    proa: Proa, registry: str, tmp_path: Path
) -> None:
    copy = "skopeo copy -q --src-tls-verify=false --dest-tls-verify=false"
    place = f"docker://{registry}"
    proa.run(f"{copy} {place}/docker.io/library/busybox:latest dir:{tmp_path}/one")
    proa.run(f"{copy} dir:{tmp_path}/one {place}/docker.io/mine/tool:v1")
    proa.run(f"{copy} {place}/docker.io/mine/tool:v1 dir:{tmp_path}/two")
    assert names(tmp_path / "one") == names(tmp_path / "two")
    proa.kubectl("run tool --image=mine/tool:v1 --restart=Never -- echo hello")
    ended = "jsonpath={.status.phase}=Succeeded"
    done = proa.run(["kubectl", "wait", "pod/tool", f"--for={ended}", "--timeout=60s"], ok=False)
    assert done.returncode == 0, proa.kubectl("describe pod tool")
    assert proa.kubectl("logs tool").strip() == "hello"
    proa.kubectl("delete pod tool")


def test_buildah_podman_and_containerd_push_what_the_next_one_pulls(
    proa: Proa, registry: str, storage: Path
) -> None:
    socket = proa.data_dir / "run" / "containerd.sock"
    ctr = f"ctr --address {socket} --namespace clients images"
    start, built, podman, docker, own = (
        f"{registry}/{name}"
        for name in (
            *("docker.io/library/busybox:latest", "by/buildah:v1", "by/podman:v1"),
            *("by/podman:docker", "by/containerd:v1"),
        )
    )
    proa.run(f"""
        buildah pull -q --tls-verify=false docker://{start}
        buildah push -q --tls-verify=false {start} docker://{built}
        podman pull -q --tls-verify=false docker://{built}
        podman push -q --tls-verify=false {built} {podman}
        podman push -q --format v2s2 --tls-verify=false {built} {docker}
        {ctr} pull --plain-http {docker}
        {ctr} tag {docker} {own}
        {ctr} push --plain-http {own}
        {ctr} rm --sync {docker} {own}
    """)
    assert digest_at(proa, own) == digest_at(proa, docker)
    tags = proa.run(f"skopeo list-tags --tls-verify=false docker://{registry}/by/podman").stdout
    assert json.loads(tags)["Tags"] == ["docker", "v1"]
    runs = f"kubectl run own --image=localhost:{registry.split(':')[1]}/by/containerd:v1"
    proa.run(f"{runs} --restart=Never -- true")
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    proa.kubectl(f"wait pod/own {ended} --timeout=60s")
    proa.kubectl("delete pod own")


def test_index_of_several_architectures_is_pushed_copied_and_deleted(
    proa: Proa, registry: str, storage: Path
) -> None:
    many, copied = f"{registry}/by/list:v1", f"{registry}/copied/list:v1"
    source = f"docker://{registry}/docker.io/library"
    proa.run(f"""
        podman manifest create {many}
        podman manifest add --tls-verify=false --arch arm64 {many} {source}/busybox:latest
        podman manifest add --tls-verify=false {many} {source}/nginx:alpine
        podman manifest push -q --all --tls-verify=false {many} docker://{many}
        skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false \
            docker://{many} docker://{copied}
    """)
    shown = proa.run(f"skopeo inspect --raw --tls-verify=false docker://{copied}").stdout
    platforms = [entry["platform"]["architecture"] for entry in json.loads(shown)["manifests"]]
    assert platforms == ["arm64", "amd64"]
    assert digest_at(proa, many) == digest_at(proa, copied)
    proa.run(f"skopeo delete --tls-verify=false docker://{copied}")
    gone = proa.run(f"skopeo inspect --raw --tls-verify=false docker://{copied}", ok=False)
    assert gone.returncode != 0 and "manifest unknown" in gone.stderr


def ask(method: str, url: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body or None, method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}
    except OSError:
        return 0, {}


def test_push_goes_on_after_the_control_plane_was_killed(proa: Proa, registry: str) -> None:
    content = os.urandom(3_000_000)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    base = f"http://{registry}"
    status, headers = ask("POST", f"{base}/v2/crash/app/blobs/uploads/")
    assert status == 202
    location = base + headers["location"]
    first = content[:2_000_000]
    status, headers = ask("PATCH", location, first, content_range="0-1999999")
    assert (status, headers["range"]) == (202, "0-1999999")
    os.kill(proa.process("control"), signal.SIGKILL)
    status, headers = eventually(lambda: (found := ask("GET", location))[0] and found)
    assert (status, headers["range"]) == (204, "0-1999999")
    assert ask("HEAD", f"{base}/v2/crash/app/blobs/{digest}")[0] == 404
    assert ask("PATCH", location, content[1_000_000:], content_range="1000000-2999999")[0] == 416
    assert ask("PATCH", location, content[2_000_000:], content_range="2000000-2999999")[0] == 202
    assert ask("PUT", f"{location}?digest={digest}")[0] == 201
    status, headers = ask("HEAD", f"{base}/v2/crash/app/blobs/{digest}")
    assert (status, headers["content-length"]) == (200, "3000000")
    eventually(lambda: proa.run(["kubectl", "get", "--raw", "/readyz"], ok=False).stdout == "ok")
