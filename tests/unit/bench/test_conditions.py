"""What a machine gave to a benchmark."""

from __future__ import annotations

from pathlib import Path

from proa.bench.conditions import Watch


def test_stolen_time_is_a_share_of_what_passed_meanwhile(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 10 20 500 5 0 5 60 40 0\ncpu0 1 2\n")
    watch = Watch(stat)
    # 60 more of user, of which a guest had 50, and 20 more were stolen
    stat.write_text("cpu  160 10 20 500 5 0 5 80 90 0\ncpu0 1 2\n")
    assert watch.seen().stolen == 0.25


def test_where_nothing_passed_or_no_system_tells_nothing_was_stolen(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    assert Watch(stat).seen().stolen == 0.0
    stat.write_text("cpu  100 10 20 500 5 0 5 60 40 0\n")
    seen = Watch(stat).seen()
    assert seen.stolen == 0.0 and seen.yardstick_us > 0
