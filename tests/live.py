"""A real Proa for the tests of the APIs and end to end: started by the CLI, in a folder of its own.

Every test drives it with the real clients (aws, kubectl, boto3, a socket). Tests that kill or
stop things bring the same Proa back themselves; tests that need another one (``--strict``) start
it through ``proa_at``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOP = Path(__file__).parent.parent
VENV = TOP / ".venv"
PROA = VENV / "bin" / "proa"
SEEDS = TOP / "examples" / "seeds"


def eventually(
    check: Callable[[], Any], timeout_s: float = 30, what: str | Callable[[], Any] = ""
) -> Any:
    """The first true answer of ``check``; fails with its last one, or with ``what`` (asked then
    if it can be called), after the timeout."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {timeout_s} s: {told or answer!r}")
        time.sleep(0.1)


@dataclass
class Proa:
    """One running Proa and its clients."""

    data_dir: Path
    environment: dict[str, str]

    def run(
        self, command: str | list[str], *, ok: bool = True, timeout_s: float = 90, **fields: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a client (a list), or lines of shell (a text), in this Proa's environment."""
        words = ["bash", "-euc", command] if isinstance(command, str) else command
        done = subprocess.run(
            words,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
            **fields,
        )
        if ok:
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def aws(self, line: str, **fields: Any) -> Any:
        """``aws LINE``; the decoded JSON, or the text where it is none."""
        done = self.run(["aws", *shlex.split(line)], **fields)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return done.stdout.strip()

    def kubectl(self, line: str, **fields: Any) -> str:
        """``kubectl LINE``; what it printed."""
        return self.run(["kubectl", *shlex.split(line)], **fields).stdout

    def objects(self, line: str) -> list[dict[str, Any]]:
        """``kubectl get LINE`` as objects."""
        items: list[dict[str, Any]] = json.loads(self.kubectl(f"get {line} -o json"))["items"]
        return items

    def apply(self, manifest: str) -> str:
        """``kubectl apply`` of a text."""
        done = subprocess.run(
            ["kubectl", "apply", "-f", "-"],
            input=manifest,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def boto(self, service: str, **fields: Any) -> Any:
        """A boto3 client with this Proa's credentials."""
        import boto3

        environment = self.environment
        return boto3.client(
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=fields.pop("region_name", environment["AWS_DEFAULT_REGION"]),
            **fields,
        )

    def status(self) -> dict[str, Any]:
        """``proa status --json``."""
        answer: dict[str, Any] = json.loads(self.run([str(PROA), "status", "--json"]).stdout)
        return answer

    def process(self, component: str) -> int:
        """The process id of one of Proa's own processes."""
        file = self.data_dir / "run" / f"{component}.pid"
        return int(eventually(file.read_text, 5, f"{file} is empty"))

    def up(self, *flags: str) -> None:
        self.run([str(PROA), "up", "--detach", *flags], timeout_s=120)

    def down(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(PROA), "down", *flags], timeout_s=120)


def start(data_dir: Path, ports: tuple[int, int, int], *flags: str) -> Proa:
    """``proa up`` with ports of its own, and the environment that ``proa env`` prints."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "PROA_DATA_DIR": str(data_dir),
        "PATH": f"{VENV / 'clients'}:{os.environ['PATH']}",
        "HOME": str(data_dir / "home"),
        "AWS_PAGER": "",
    }
    proa = Proa(data_dir, environment)
    (data_dir / "home").mkdir(parents=True, exist_ok=True)
    aws_port, kube_port, registry_port = map(str, ports)
    proa.up("--aws-port", aws_port, "--kube-port", kube_port, "--registry-port", registry_port,
            *flags)  # fmt: skip
    environment.update(json.loads(proa.run([str(PROA), "env", "--json"]).stdout))
    return proa


@contextlib.contextmanager
def proa_at(data_dir: Path, ports: tuple[int, int, int], *flags: str) -> Iterator[Proa]:
    """A Proa for the length of a block; purged afterwards."""
    try:
        yield start(data_dir, ports, *flags)
    finally:
        logs = data_dir / "logs"
        keep = os.environ.get("PROA_E2E_LOGS")
        if keep and logs.is_dir():
            subprocess.run(["cp", "-r", str(logs), keep], check=False)
        command = [str(PROA), "down", "--purge", "--data-dir", str(data_dir)]
        subprocess.run(command, check=True, timeout=120, capture_output=True)


def fetch(url: str, timeout_s: float = 5) -> str:
    """The body behind a URL, from the Host."""
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        text: str = answer.read().decode()
        return text
