"""Checks of the machine: a kernel's modules are loaded before they are called missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proa.cli import host


def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modprobe: str) -> list[str]:
    """What is said of a kernel that has not loaded overlayfs, with a given modprobe."""
    known = tmp_path / "filesystems"
    known.write_text("nodev\ttmpfs\n\text4\n")
    program = tmp_path / "modprobe"
    program.write_text(f"#!/bin/sh\n{modprobe.format(known=known)}\n")
    program.chmod(0o755)
    monkeypatch.setattr(host, "_FILESYSTEMS", known)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return [finding.what for finding in host.check_kernel()]


def test_a_module_that_is_not_loaded_yet_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = 'test "$1" = overlay && echo "nodev overlay" >>{known}'
    assert kernel(tmp_path, monkeypatch, load) == []


def test_a_kernel_without_overlayfs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kernel(tmp_path, monkeypatch, "exit 1") == ["the kernel has no overlayfs"]


MOUNT = "21 1 0:5 / {at} rw - ext4 /dev/vda rw\n"


@pytest.mark.parametrize(
    ("points", "found"),
    [
        (("/", "/proc"), []),
        (("/media/\udcff", "/"), []),  # no UTF-8
        (("/proc", "/sys"), ["this is a chroot whose root is no mount"]),
    ],
)
def test_a_root_that_runc_cannot_remount_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: tuple[str, ...], found: list[str]
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(os.fsencode("".join(MOUNT.format(at=point) for point in points)))
    monkeypatch.setattr(host, "_MOUNTS", mounts)
    assert [finding.what for finding in host.check_root()] == found
