"""The supervisor: starts Proa's three processes and starts each again when it dies.

``python -m proa.cli.supervisor DATA_DIR``. Standard library only and few of it: it is resident
for as long as Proa is. SIGTERM stops the agent and the control plane; containerd and the
containers are left to ``down``, which ends them in order. A process that dies again and again
is started with a growing delay, never given up.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import IO

from proa.base.stopwatch import monotonic

DELAY_FIRST_S, DELAY_MAX_S, STEADY_S = 0.1, 10.0, 30.0
STOP_S = 20.0


class Child:
    """One supervised process."""

    def __init__(self, name: str, command: list[str], data_dir: Path) -> None:
        self.name, self.command, self.data_dir = name, command, data_dir
        self.process: subprocess.Popen[bytes] | None = None
        self.delay_s, self.started_at, self.due = DELAY_FIRST_S, 0.0, 0.0

    def start(self, now: float) -> None:
        log = self.data_dir / "logs" / f"{self.name}.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment(),
            )
        self.started_at = now
        (self.data_dir / "run" / f"{self.name}.pid").write_text(str(self.process.pid))

    def mind(self, now: float) -> None:
        """Start it if it is not there and its delay has passed."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            steady = now - self.started_at > STEADY_S
            self.delay_s = DELAY_FIRST_S if steady else min(DELAY_MAX_S, self.delay_s * 2)
            print(f"{self.name} ended with {self.process.returncode}", flush=True)
            self.process = None
            self.due = now + self.delay_s
        if now >= self.due:
            self.start(now)

    def stop(self, timeout_s: float) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            (self.data_dir / "run" / f"{self.name}.pid").unlink()


def environment() -> dict[str, str]:
    """What the processes inherit. A machine on which Python is told to keep no bytecode would
    compile all of Proa at each start, which takes longer than the rest of it. And arrays are only
    added and compared here: NumPy's threads for linear algebra would spin at start for nothing."""
    kept = dict(os.environ)
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    kept.setdefault("OPENBLAS_NUM_THREADS", "1")
    return kept


def commands(data_dir: Path) -> list[tuple[str, list[str]]]:
    """What runs, in the order of starting."""
    python = [sys.executable, "-m"]
    if json.loads((data_dir / "config.json").read_text()).get("runtime") == "sim":
        return [("control", [*python, "proa.sim.control", str(data_dir)])]
    return [
        ("containerd", ["containerd", "--config", str(data_dir / "containerd" / "config.toml")]),
        ("control", [*python, "proa.server.control", str(data_dir)]),
        ("agent", [*python, "proa.server.agent", str(data_dir)]),
    ]


def hold(data_dir: Path) -> IO[str] | None:
    """The lock that makes a supervisor the only one of its data directory; None while another
    holds it. It ends with the process."""
    lock = (data_dir / "supervisor.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def main() -> None:
    """Run until SIGTERM or SIGINT; where there is a supervisor already, end at once."""
    data_dir = Path(sys.argv[1])
    lock = hold(data_dir)
    if lock is None:
        print("another supervisor is here already", flush=True)
        return
    wake = threading.Event()
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        wake.set()

    def child_ended(_signal: int, _frame: FrameType | None) -> None:
        wake.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGCHLD, child_ended)
    children = [Child(name, command, data_dir) for name, command in commands(data_dir)]
    while not stopping:
        wake.clear()
        for child in children:
            child.mind(monotonic())
        wake.wait(0.5 if any(child.process is None for child in children) else 5.0)
    for child in reversed(children):
        if child.name != "containerd":
            child.stop(STOP_S)
    lock.close()


if __name__ == "__main__":
    main()
