"""What ``proa up`` forgets after the machine was restarted."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.base.config import Config
from proa.cli import up


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for folder in ("run", "containerd/state/tasks", "containerd/root"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "kept").touch()
    return Config(data_dir=tmp_path)


def left(config: Config) -> set[str]:
    files = (path for path in config.data_dir.rglob("kept") if path.is_file())
    return {str(path.parent.relative_to(config.data_dir)) for path in files}


def test_state_of_before_the_boot_is_forgotten_and_of_this_one_kept(config: Config) -> None:
    up._forget_before_boot(config)
    assert left(config) == {"containerd/root"}
    for folder in ("run", "containerd/state"):
        (config.data_dir / folder).mkdir(exist_ok=True)
        (config.data_dir / folder / "kept").touch()
    up._forget_before_boot(config)
    assert left(config) == {"containerd/root", "containerd/state", "run"}
    (config.run_dir / "boot-id").write_text("another boot\n")
    up._forget_before_boot(config)
    assert left(config) == {"containerd/root"}
