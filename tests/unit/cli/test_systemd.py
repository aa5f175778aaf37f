"""The unit that ``proa systemd install`` writes, and who counts as a process of ours."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from proa.base.config import Config
from proa.cli import systemd
from proa.cli.instance import process_id
from proa.cli.systemd import unit_text


def parsed(config: Config) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(unit_text(config, Path("/opt/proa/bin/proa")))
    return unit


def test_unit_runs_up_with_what_was_chosen_and_nothing_else() -> None:
    plain = parsed(Config(data_dir=Path("/var/lib/proa")))
    assert (
        plain["Service"]["ExecStart"] == "/opt/proa/bin/proa up --detach --data-dir /var/lib/proa"
    )
    chosen = Config(data_dir=Path("/srv/a proa"), aws_port=14566, region="eu-west-1", strict=True)
    words = shlex.split(parsed(chosen)["Service"]["ExecStart"])
    assert words[3:] == [
        *("--data-dir", "/srv/a proa", "--aws-port", "14566"),
        *("--region", "eu-west-1", "--strict"),
    ]


def test_unit_leaves_containers_alone_and_follows_the_supervisor() -> None:
    service = parsed(Config(data_dir=Path("/data")))["Service"]
    assert (service["KillMode"], service["Delegate"]) == ("process", "yes")
    assert (service["Type"], service["PIDFile"]) == ("forking", "/data/run/supervisor.pid")
    assert service["Restart"] == "on-failure"


def test_percent_signs_of_paths_are_no_specifiers() -> None:
    service = parsed(Config(data_dir=Path("/data/50%h")))["Service"]
    assert service["PIDFile"] == "/data/50%%h/run/supervisor.pid"


def test_number_that_another_program_got_is_no_process_of_ours(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "control.pid"
    file.write_text(str(os.getpid()))
    assert process_id(tmp_path, "control") == 0
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, "proa.server.control", str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        file.write_text(str(process.pid))
        assert process_id(tmp_path, "control") == process.pid
        process.communicate()
    assert process_id(tmp_path, "control") == 0


def test_a_removed_units_rules_hold_until_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, ...]] = []
    unit, runtime = tmp_path / "etc" / "proa.service", tmp_path / "run"
    unit.parent.mkdir()
    runtime.mkdir()
    unit.write_text("[Service]\nKillMode=process\n")
    monkeypatch.setattr(systemd, "UNIT", unit)
    monkeypatch.setattr(systemd, "RUNTIME", runtime)
    monkeypatch.setattr(systemd, "_has_systemd", lambda: True)

    def systemctl(*words: str) -> bool:
        said.append(words)
        return True

    monkeypatch.setattr(systemd, "_systemctl", systemctl)
    assert systemd.uninstall() == 0
    assert not unit.exists()
    assert "KillMode=process" in (runtime / "proa.service").read_text()
    assert said == [("disable", "proa.service"), ("daemon-reload",)]
