"""``proa image``: what docker save, podman save and skopeo write runs under its own name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.live import PROA, Proa, eventually

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def tars(proa: Proa, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker-archive of team/tool:v1, packed too, and an OCI archive that has no name."""
    port = json.loads((proa.data_dir / "config.json").read_text())["registry_port"]
    folder = tmp_path_factory.mktemp("tars")
    source = f"--src-tls-verify=false docker://127.0.0.1:{port}/docker.io/library/busybox:latest"
    proa.run(f"skopeo copy -q {source} docker-archive:{folder}/docker.tar:team/tool:v1")
    proa.run(f"skopeo copy -q {source} oci-archive:{folder}/oci.tar")
    (folder / "docker.tar.gz").write_bytes(gzip.compress((folder / "docker.tar").read_bytes()))
    return folder


def references(proa: Proa) -> dict[str, dict]:
    shown = proa.run([str(PROA), "image", "list", "--json"]).stdout
    return {image["reference"]: image for image in json.loads(shown)}


def ran(proa: Proa, name: str, image: str) -> str:
    """What a pod of the image, which echoes, has logged."""
    proa.kubectl(f"run {name} --image={image} --restart=Never -- echo from {name}")
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    done = proa.run(["kubectl", "wait", f"pod/{name}", ended, "--timeout=60s"], ok=False)
    assert done.returncode == 0, proa.kubectl(f"describe pod {name}")
    text = proa.kubectl(f"logs {name}").strip()
    proa.kubectl(f"delete pod {name}")
    return text


def test_loaded_archives_run_in_pods_under_their_names(proa: Proa, tars: Path) -> None:
    said = proa.run([str(PROA), "image", "load", str(tars / "docker.tar")]).stdout
    assert said.startswith("loaded docker.io/team/tool:v1 sha256:")
    again = proa.run([str(PROA), "image", "load", str(tars / "docker.tar.gz")]).stdout
    assert again == said
    load = [str(PROA), "image", "load", str(tars / "oci.tar"), "--name", "plain"]
    proa.run([*load, "--name", f"{ECR}/team/tool:v2"])
    found = references(proa)
    loaded = {"docker.io/team/tool:v1", "docker.io/library/plain:latest", f"{ECR}/team/tool:v2"}
    assert loaded <= set(found)
    assert found["docker.io/team/tool:v1"]["digest"] == said.split()[-1]
    assert found["docker.io/team/tool:v1"]["platforms"] == ["linux/amd64"]
    assert found["docker.io/team/tool:v1"]["size"] > 500_000
    assert ran(proa, "one", "team/tool:v1") == "from one"
    assert ran(proa, "two", "plain") == "from two"


def test_loaded_image_runs_in_a_task(proa: Proa, tars: Path) -> None:
    proa.run([str(PROA), "image", "load", str(tars / "oci.tar"), "-n", f"{ECR}/team/job:v1"])
    container = {"name": "job", "image": f"{ECR}/team/job:v1", "command": ["true"], "memory": 64}
    definition = proa.boto("ecs").register_task_definition(
        family="loaded", containerDefinitions=[container]
    )["taskDefinition"]["taskDefinitionArn"]
    (task,) = proa.boto("ecs").run_task(taskDefinition=definition)["tasks"]

    def stopped() -> dict:
        (shown,) = proa.boto("ecs").describe_tasks(tasks=[task["taskArn"]])["tasks"]
        return shown if shown["lastStatus"] == "STOPPED" else {}

    assert eventually(stopped, 60)["containers"][0]["exitCode"] == 0


def test_removed_image_is_gone_here_and_on_the_node(proa: Proa, tars: Path) -> None:
    name = "localhost:1/gone:v1"  # whose own registry refuses at once
    proa.run([str(PROA), "image", "load", str(tars / "docker.tar"), "-n", name])
    assert ran(proa, "before", name) == "from before"
    said = proa.run([str(PROA), "image", "rm", name]).stdout
    assert said.startswith(f"removed {name}; ")
    assert name not in references(proa)
    proa.kubectl(f"run after --image={name} --restart=Never -- true")
    waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    shown = ["kubectl", "get", "pod", "after", "-o", waiting]
    eventually(lambda: proa.run(shown).stdout in ("ErrImagePull", "ImagePullBackOff"))
    proa.kubectl("delete pod after")


def test_what_cannot_be_done_is_said_and_changes_nothing(proa: Proa, tars: Path) -> None:
    (tars / "cut").write_bytes((tars / "docker.tar").read_bytes()[:200_000])
    before = references(proa)
    for words, said in [
        (("load", f"{tars}/cut"), "not a tar file that can be read"),
        (("load", f"{tars}/oci.tar"), "does not say what its image is called: give --name"),
        (("load", f"{tars}/oci.tar", "--name", "No Name"), "is no image reference"),
        (("rm", "never/loaded:v1"), "there is no image never/loaded:v1"),
    ]:
        done = proa.run([str(PROA), "image", *words], ok=False)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert references(proa) == before


def test_without_a_running_proa_the_command_says_so(proa: Proa, tmp_path: Path) -> None:
    for words in (("list",), ("rm", "x")):
        done = proa.run([str(PROA), "image", *words, "--data-dir", str(tmp_path)], ok=False)
        assert done.returncode == 1
        assert done.stderr == f"proa: nothing runs from {tmp_path}: start it with proa up\n"
