"""Limits of whole Sandboxes and Instances, written for both layouts of the cgroup tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.model.resources import Resources
from proa.node.containerd import cgroups

CPU = 128_000


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    return tmp_path


@pytest.fixture
def split(tmp_path: Path) -> Path:
    for controller in ("cpu", "memory", "pids"):
        (tmp_path / controller).mkdir()
    return tmp_path


def test_limits_on_the_unified_tree(unified: Path) -> None:
    cgroups.make("/proa/i/u", 1 << 20, CPU // 2, unified)
    folder = unified / "proa" / "i" / "u"
    assert (folder / "memory.max").read_text() == str(1 << 20)
    assert (folder / "cpu.max").read_text() == "50000 100000"
    for above in (unified, unified / "proa", unified / "proa" / "i"):
        assert (above / "cgroup.subtree_control").read_text() == "+cpu +memory"


def test_limits_on_the_split_tree(split: Path) -> None:
    cgroups.make("/proa/i/u", 1 << 20, CPU // 2, split)
    assert (split / "memory/proa/i/u/memory.limit_in_bytes").read_text() == str(1 << 20)
    assert (split / "cpu/proa/i/u/cpu.cfs_quota_us").read_text() == "50000"


def test_without_limits_nothing_is_made(split: Path) -> None:
    cgroups.make("/proa/i/u", 0, 0, split)
    assert not (split / "memory/proa").exists()


def test_an_instance_gets_shares_and_never_a_quota(split: Path, unified: Path) -> None:
    cgroups.make_instance("/proa/i", Resources(cpu=2 * CPU, memory=1 << 30), unified)
    assert not (unified / "proa/i/cpu.max").exists()
    assert (unified / "proa/i/cpu.weight").read_text() == "79"


def test_an_instance_on_the_split_tree_gets_shares(split: Path) -> None:
    cgroups.make_instance("/proa/i", Resources(cpu=2 * CPU, memory=1 << 30), split)
    assert (split / "cpu/proa/i/cpu.shares").read_text() == "2048"
    assert not (split / "cpu/proa/i/cpu.cfs_quota_us").exists()


def test_removal_takes_empty_folders_only(split: Path) -> None:
    (split / "pids/proa/i/u").mkdir(parents=True)
    (split / "cpu/proa/i/u/child").mkdir(parents=True)
    cgroups.remove("/proa/i/u", split)
    assert not (split / "pids/proa/i/u").exists()
    assert (split / "cpu/proa/i/u/child").exists()
    cgroups.sweep("/proa", split)
    assert not (split / "cpu/proa").exists()
