"""The pytest plugin: a fresh Proa for tests of programs that speak to ECS or Kubernetes.

``pip install proa`` brings two fixtures: ``proa`` (one for the session) and ``proa_fresh`` (one for
each test that asks). Both are ``LocalProa``: the real APIs over simulated hosts, without root, in
a process beside the tests that ends with them. boto3 and kubernetes are the tests' own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import IO, Any, TypeVar

import pytest

from proa.base.clock import SystemClock

T = TypeVar("T")
LOOK_EVERY_S = 0.05


class LocalProa:
    """One running Proa and ways to reach it.

    ``environment`` are the variables that point aws, kubectl, boto3 and Helm at it; they are not
    set in this process (see ``use``). ``kubeconfig`` is the path of its kubeconfig."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.endpoint_url = environment["AWS_ENDPOINT_URL"]
        self.kubeconfig = Path(environment["KUBECONFIG"])
        self.region = environment["AWS_DEFAULT_REGION"]

    def session(self, **fields: Any) -> Any:
        """A ``boto3.Session`` with this Proa's credentials; its clients need ``endpoint_url``."""
        boto3 = _theirs("boto3")
        return boto3.Session(
            **{
                "aws_access_key_id": self.environment["AWS_ACCESS_KEY_ID"],
                "aws_secret_access_key": self.environment["AWS_SECRET_ACCESS_KEY"],
                "region_name": self.region,
                **fields,
            }
        )

    def boto3(self, service: str, **fields: Any) -> Any:
        """A boto3 client of this Proa: ``proa.boto3("ecs")``."""
        region = fields.pop("region_name", self.region)
        session = self.session(region_name=region)
        return session.client(service, **{"endpoint_url": self.endpoint_url, **fields})

    def kubernetes(self) -> Any:
        """An ``ApiClient`` of the kubernetes package: ``CoreV1Api(proa.kubernetes())``."""
        _theirs("kubernetes")
        config = _theirs("kubernetes.config")
        return config.new_client_from_config(config_file=str(self.kubeconfig))

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set ``environment`` in this process for the length of a test, so that code under test
        finds this Proa by itself."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    def run(self, *words: str, **fields: Any) -> subprocess.CompletedProcess[str]:
        """Run a client (``"kubectl", "get", "pods"``) in ``environment``; fails the test where
        it fails."""
        environment = {**os.environ, **self.environment}
        given: dict[str, Any] = {"capture_output": True, "timeout": 60, **fields}
        done = subprocess.run(words, env=environment, text=True, check=False, **given)
        if done.returncode:
            pytest.fail(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
        return done

    def eventually(self, check: Callable[[], T], timeout_s: float = 30.0) -> T:
        """The first true answer of ``check``, asked again and again; fails the test after
        ``timeout_s``."""
        clock, pause = SystemClock(), Event()
        deadline = clock.monotonic() + timeout_s
        while not (answer := check()):
            if clock.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s:g} s; the last answer was {answer!r}")
            pause.wait(LOOK_EVERY_S)
        return answer


def _theirs(module: str) -> Any:
    """A package that the tests bring along."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        pytest.fail(f"this needs the package {package}: pip install {package}", pytrace=False)


class Nursery:
    """The process beside the tests (``proa.sim.nursery``), started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proa.sim.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None, "both are pipes"
        line = ""
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"Proa ended:\n{self.said()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"Proa does not start: {answer['error']}")
        return answer

    def said(self) -> str:
        """The end of what the process has logged."""
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read()[-10_000:]

    def start(self, hosts: int, behaviour: str) -> tuple[int, LocalProa]:
        """A fresh Proa and its number. Raises RuntimeError with what is in the way."""
        answer = self._ask({"start": {"hosts": hosts, "behaviour": behaviour}})
        return answer["id"], LocalProa(answer["environment"])

    def stop(self, number: int) -> None:
        """End one."""
        self._ask({"stop": number})

    def close(self) -> None:
        """End the process and all that it made."""
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(timeout=30)
        if self._log is not None:
            self._log.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of pytest's own configuration file."""
    parser.addini("proa_hosts", "How many simulated hosts a Proa has.", default="1")
    parser.addini("proa_behaviour", "How simulated images behave: a YAML file.", default="")


@pytest.fixture(scope="session")
def _proa_nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def _started(nursery: Nursery, config: pytest.Config) -> Iterator[LocalProa]:
    behaviour = str(config.getini("proa_behaviour"))
    file = str(config.rootpath / behaviour) if behaviour else ""
    number, made = nursery.start(int(config.getini("proa_hosts")), file)
    yield made
    nursery.stop(number)


@pytest.fixture(scope="session")
def proa(_proa_nursery: Nursery, pytestconfig: pytest.Config) -> Iterator[LocalProa]:
    """A Proa that all tests of the session share."""
    yield from _started(_proa_nursery, pytestconfig)


@pytest.fixture
def proa_fresh(_proa_nursery: Nursery, pytestconfig: pytest.Config) -> Iterator[LocalProa]:
    """A Proa of this test's own, in which nothing has happened yet."""
    yield from _started(_proa_nursery, pytestconfig)
