"""Limits of whole Sandboxes and Instances, written for both layouts of the cgroup tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.model.resources import Resources
from proa.model.sandbox import Container, Ulimit
from proa.node.containerd import cgroups
from proa.node.containerd.abilities import Abilities
from tests.unit.node import cgroup_trees

CPU = 128_000


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    (tmp_path / "v2").mkdir()
    return cgroup_trees.unified(tmp_path / "v2", "cpuset", "cpu", "io", "memory", "pids")


@pytest.fixture
def split(tmp_path: Path) -> Path:
    (tmp_path / "v1").mkdir()
    return cgroup_trees.split(tmp_path / "v1")


def test_limits_on_the_unified_tree(unified: Path) -> None:
    for _ in range(2):
        cgroups.make("/proa/i/u", 1 << 20, CPU // 2, unified)
    folder = unified / "proa" / "i" / "u"
    assert (folder / "memory.max").read_text() == str(1 << 20)
    assert (folder / "cpu.max").read_text() == "50000 100000"
    for above in (unified, unified / "proa", unified / "proa" / "i"):
        assert (above / "cgroup.subtree_control").read_text() == "cpu memory pids"
    assert (folder / "cgroup.subtree_control").read_text() == ""  # runc's own business


def test_a_controller_that_the_kernel_lacks_is_passed_over(tmp_path: Path) -> None:
    root = cgroup_trees.unified(tmp_path, "memory")
    cgroups.make("/proa/i/u", 1 << 20, 0, root)
    assert (root / "proa/i/u/memory.max").read_text() == str(1 << 20)
    with pytest.raises(OSError, match="no such control file"):
        cgroups.make("/proa/i/u", 0, CPU, root)


def test_limits_on_the_split_tree(split: Path) -> None:
    cgroups.make("/proa/i/u", 1 << 20, CPU // 2, split)
    assert (split / "memory/proa/i/u/memory.limit_in_bytes").read_text() == str(1 << 20)
    assert (split / "cpu/proa/i/u/cpu.cfs_quota_us").read_text() == "50000"
    assert not (split / "unified/proa").exists()


def test_without_limits_nothing_is_made(split: Path) -> None:
    cgroups.make("/proa/i/u", 0, 0, split)
    assert not (split / "memory/proa").exists()


def test_an_instance_gets_a_weight_and_never_a_quota(unified: Path) -> None:
    cgroups.make_instance("/proa/i", Resources(cpu=2 * CPU, memory=1 << 30), unified)
    assert (unified / "proa/i/cpu.max").read_text() == "max"
    assert (unified / "proa/i/cpu.weight").read_text() == "79"
    assert (unified / "proa/i/memory.max").read_text() == str(1 << 30)


def test_an_instance_on_the_split_tree_gets_shares(split: Path) -> None:
    cgroups.make_instance("/proa/i", Resources(cpu=2 * CPU, memory=1 << 30), split)
    assert (split / "cpu/proa/i/cpu.shares").read_text() == "2048"
    assert not (split / "cpu/proa/i/cpu.cfs_quota_us").exists()


def test_kills_for_memory_are_counted_on_the_unified_tree_alone(unified: Path, split: Path) -> None:
    cgroups.make("/proa/i/u", 1 << 20, 0, unified)
    assert cgroups.oom_kills("/proa/i/u", unified) == 0
    events = unified / "proa/i/u/memory.events"
    events.write_text(events.read_text().replace("oom_kill 0", "oom_kill 2"))
    assert cgroups.oom_kills("/proa/i/u", unified) == 2
    assert cgroups.oom_kills("/proa/i/none", unified) == 0
    assert cgroups.oom_kills("/proa/i/u", split) == 0


def test_removal_takes_empty_folders_only(split: Path) -> None:
    (split / "pids/proa/i/u").mkdir(parents=True)
    (split / "cpu/proa/i/u/child").mkdir(parents=True)
    cgroups.remove("/proa/i/u", split)
    assert not (split / "pids/proa/i/u").exists()
    assert (split / "cpu/proa/i/u/child").exists()
    cgroups.sweep("/proa", split)
    assert not (split / "cpu/proa").exists()


def test_swap_is_limited_where_the_kernel_accounts_for_it(tmp_path: Path, unified: Path) -> None:
    for name, swap in (("with", True), ("without", False)):
        (tmp_path / name).mkdir()
        root = cgroup_trees.split(tmp_path / name, swap=swap)
        assert cgroups.accounts_swap(root) is swap
    assert cgroups.accounts_swap(unified)
    cgroups.make("/proa/i", 1 << 20, 0, unified)
    assert cgroups.accounts_swap(unified)
    (unified / "proa/memory.swap.max").unlink()
    assert not cgroups.accounts_swap(unified)


SWAPPING = Container("c", "image", memory_limit=1 << 20, swap_limit=1 << 20, swappiness=10)


@pytest.mark.parametrize(
    ("abilities", "swap", "swappiness", "notes"),
    [
        (Abilities(), 1 << 20, 10, 0),
        (Abilities(swappiness=False), 1 << 20, None, 1),
        (Abilities(swap=False), None, None, 2),
    ],
)
def test_what_the_kernel_cannot_limit_is_left_out_with_a_word(
    abilities: Abilities, swap: int | None, swappiness: int | None, notes: int
) -> None:
    adapted, said = abilities.adapt(SWAPPING)
    assert (adapted.swap_limit, adapted.swappiness, len(said)) == (swap, swappiness, notes)


def test_limits_stay_below_what_may_be_given() -> None:
    wanted = (Ulimit("nofile", 100, 65535), Ulimit("nproc", -1, -1), Ulimit("core", 0, -1))
    abilities = Abilities(limits={"nofile": 20000, "nproc": 500, "core": -1})
    adapted, said = abilities.adapt(Container("c", "image", ulimits=wanted))
    assert adapted.ulimits == (
        Ulimit("nofile", 100, 20000),
        Ulimit("nproc", 500, 500),
        Ulimit("core", 0, -1),
    )
    assert said[0] == "ulimit nofile: 65535 is more than this machine's 20000"
    assert Abilities().adapt(Container("c", "image", ulimits=wanted))[0].ulimits == wanted
