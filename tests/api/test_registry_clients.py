"""Proa's image registry as skopeo and containerd see it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live import Proa


def test_pushed_image_is_pulled_back_whole_and_runs(proa: Proa, tmp_path: Path) -> None:
    port = json.loads((proa.data_dir / "config.json").read_text())["registry_port"]
    registry = f"docker://127.0.0.1:{port}"
    copy = "skopeo copy -q --src-tls-verify=false --dest-tls-verify=false"
    proa.run(f"{copy} {registry}/docker.io/library/busybox:latest dir:{tmp_path}/one")
    proa.run(f"{copy} dir:{tmp_path}/one {registry}/docker.io/mine/tool:v1")
    proa.run(f"{copy} {registry}/docker.io/mine/tool:v1 dir:{tmp_path}/two")
    assert names(tmp_path / "one") == names(tmp_path / "two")
    proa.kubectl("run tool --image=mine/tool:v1 --restart=Never -- echo hello")
    ended = "jsonpath={.status.phase}=Succeeded"
    done = proa.run(["kubectl", "wait", "pod/tool", f"--for={ended}", "--timeout=60s"], ok=False)
    assert done.returncode == 0, proa.kubectl("describe pod tool")
    assert proa.kubectl("logs tool").strip() == "hello"
    proa.kubectl("delete pod tool")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
