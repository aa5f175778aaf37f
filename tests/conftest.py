"""The Proa that the tests of the APIs and end to end share, and the network they all run in.

As root on Linux every test process has a network namespace of its own, with a loopback alone:
a Proa that runs on this machine, another run of the tests and what a killed one left behind keep
their routes, rules and ports, and these tests theirs. Without root the tests that need a network
of their own are skipped. The guest of ``tests/vm`` is reached over the machine's own network.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from proa.node.mounts import CLONE_NEWNET
from tests.live import Proa, proa_at


def pytest_configure(config: pytest.Config) -> None:
    """Before the first test, and before any thread that would stay in the old namespace."""
    del config
    if sys.platform != "linux" or os.geteuid() != 0 or "PROA_TEST_VM" in os.environ:
        return
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:  # or this root may not: stay where we are
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture(scope="session")
def proa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proa]:
    """Started by the first test that asks for it, purged at the end."""
    with proa_at(tmp_path_factory.mktemp("proa"), (14566, 16443, 14510)) as running:
        yield running
