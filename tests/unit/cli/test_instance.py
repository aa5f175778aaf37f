"""What starts and stops from one data directory does so by turns."""

from __future__ import annotations

import errno
import fcntl
import shutil
import threading
from pathlib import Path

import pytest

from proa.cli.instance import alone


def test_a_second_command_waits_for_the_first_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    def second() -> None:
        with alone(tmp_path):
            order.append("second")

    with alone(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]
    assert "waiting" in capsys.readouterr().out


def test_a_command_that_waits_for_none_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        with alone(tmp_path):
            (tmp_path / "config.json").touch()
    assert not capsys.readouterr().out


def test_a_command_that_fails_lets_the_next_in_and_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(ValueError, match="refused"), alone(folder):
        assert folder.is_dir()
        raise ValueError("refused")
    assert not folder.exists()
    with alone(folder):
        pass


def test_who_waits_while_the_folder_is_purged_guards_the_one_that_comes_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, waits, inside, ends = tmp_path / "data", *(threading.Event() for _ in range(3))
    order: list[str] = []

    def second() -> None:
        waits.set()
        with alone(folder):
            assert folder.is_dir()
            (folder / "config.json").touch()
            inside.set()
            ends.wait(10)
            order.append("second")

    def third() -> None:
        with alone(folder):
            order.append("third")

    others = [threading.Thread(target=second), threading.Thread(target=third)]
    with alone(folder):
        others[0].start()
        waits.wait(10)
        others[0].join(0.2)
        shutil.rmtree(folder)
    assert inside.wait(10)
    others[1].start()
    others[1].join(0.2)
    ends.set()
    for other in others:
        other.join(10)
    assert order == ["second", "third"]


def test_a_folder_that_was_there_and_empty_stays(tmp_path: Path) -> None:
    with alone(tmp_path):
        pass
    assert tmp_path.is_dir()


def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone(tmp_path):
        pass


def test_where_no_folder_can_be_made_the_command_itself_tells_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reached = False
    with alone(tmp_path / "file" / "below"):
        reached = True
    assert reached
