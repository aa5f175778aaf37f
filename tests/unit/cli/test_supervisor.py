"""One supervisor a data directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from proa.cli.supervisor import hold


def test_only_one_holds_a_data_directory(tmp_path: Path) -> None:
    first = hold(tmp_path)
    assert first is not None
    assert hold(tmp_path) is None
    first.close()
    second = hold(tmp_path)
    assert second is not None
    second.close()


def test_a_second_supervisor_ends_and_starts_nothing(tmp_path: Path) -> None:
    held = hold(tmp_path)
    assert held is not None
    command = [sys.executable, "-m", "proa.cli.supervisor", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    held.close()
    assert (done.returncode, "already" in done.stdout) == (0, True)
    assert [path.name for path in tmp_path.iterdir()] == ["supervisor.lock"]
