"""What starts and stops from one data directory does so by turns."""

from __future__ import annotations

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


def test_where_no_folder_can_be_made_the_command_itself_tells_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reached = False
    with alone(tmp_path / "file" / "below"):
        reached = True
    assert reached
