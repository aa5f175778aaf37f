"""mount(2), umount2(2) and setns(2): what the agent needs of libc and Python 3.11 lacks."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_NOSUID, _NODEV = 2, 4
_DETACH = 2
CLONE_NEWNET = 0x40000000


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount_tmpfs(target: Path, size_bytes: int) -> None:
    """Mount a tmpfs; 0 bytes means the kernel's default (half of memory)."""
    options = "mode=777" + (f",size={size_bytes}" if size_bytes else "")
    result = _libc.mount(
        b"tmpfs", os.fsencode(target), b"tmpfs", _NOSUID | _NODEV, options.encode()
    )
    _checked(result, f"mount tmpfs at {target}")


def unmount(target: Path) -> None:
    """Detach a mount; it goes away when its last user does."""
    _checked(_libc.umount2(os.fsencode(target), _DETACH), f"unmount {target}")


def enter_network_namespace(descriptor: int) -> None:
    """Move the calling thread into the network namespace of an open file."""
    _checked(_libc.setns(descriptor, CLONE_NEWNET), "setns")
