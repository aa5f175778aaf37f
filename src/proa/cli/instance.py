"""A Proa on this machine, as the CLI finds it: its saved configuration and its processes.

``config.json`` in the data directory is what the last ``up`` ran with; ``run/*.pid`` name the
processes. Everything else is asked of the control plane over its socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from proa.base.config import Config
from proa.base.stopwatch import monotonic

COMPONENTS = ("supervisor", "containerd", "control", "agent")
_HAS_PROC = Path("/proc/self/stat").exists()
PURGES = 20  # of a data directory, by others, that one command waits for in a row
OF_SIM = ("supervisor", "control")  # with the simulated runtime everything is in one process


def components(config: Config) -> tuple[str, ...]:
    """The processes of this Proa."""
    return OF_SIM if config.runtime == "sim" else COMPONENTS


def default_data_dir() -> Path:
    """Root's Proa is the machine's; anybody else has one of their own."""
    if os.geteuid() == 0:
        return Config().data_dir
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "proa"


@contextlib.contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """One command at a time starts or stops what runs from a data directory; the next one waits,
    and says so. The directory is made for that, and taken away again if it stays empty; where it
    cannot be made or locked there is nothing to guard, and what comes next says why."""
    with contextlib.ExitStack() as stack:
        made = False
        for _ in range(PURGES):
            try:
                with contextlib.suppress(FileExistsError):
                    data_dir.mkdir(parents=True)
                    made = True
                folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, folder)
                _lock(folder)
                if os.path.samestat(os.fstat(folder), data_dir.stat()):
                    break
            except FileNotFoundError:
                continue  # who was waited for has purged it: the next one locks what it makes
            except OSError:
                break
        try:
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):
                    data_dir.rmdir()


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        click.echo("  waiting for another proa up or down …")
        fcntl.flock(folder, fcntl.LOCK_EX)


def process_id(data_dir: Path, component: str) -> int:
    """The live process of a component, 0 for none. A process of another program, which got the
    number after a restart of the machine, is none; a zombie has an empty command line."""
    try:
        pid = int((data_dir / "run" / f"{component}.pid").read_text())
        command = _command_line(pid)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return 0
    return pid if component.encode() in command and os.fsencode(data_dir) in command else 0


def _command_line(pid: int) -> bytes:
    """A process's words; raises FileNotFoundError where there is no such process."""
    if _HAS_PROC:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    words = ["ps", "-p", str(pid), "-o", "command="]
    return subprocess.run(words, capture_output=True, check=False).stdout


def stop_process(pid: int, timeout_s: float) -> bool:
    """SIGTERM, and SIGKILL after the timeout; returns once it has ended. True if it had to be
    killed."""
    deadline = monotonic() + timeout_s
    try:
        os.kill(pid, signal.SIGTERM)
        while alive(pid):
            if monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return True
            wait(0.02)
    except ProcessLookupError:
        return False
    return False


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    if not _HAS_PROC:
        words = ["ps", "-p", str(pid), "-o", "stat="]
        state = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
        return bool(state) and not state.startswith("Z")
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait(seconds: float) -> None:
    """Let other processes work; the CLI has no loop to sleep in."""
    threading.Event().wait(seconds)


def ask_hull(config: Config, path: str, timeout_s: float = 5.0) -> Any:
    """A GET on the control plane's socket; the decoded JSON, None while it does not answer."""
    if not config.hull_socket.exists():
        return None
    from proa.cli.connection import UnixConnection  # while Proa starts, not before

    connection = UnixConnection(config.hull_socket, timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status >= 400:
            return None
        return json.loads(body) if body else {}
    except OSError:
        return None
    finally:
        connection.close()
