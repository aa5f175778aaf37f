"""Sealing of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.base.chance import Chance
from proa.base.errors import CallerFault
from proa.cloud.secrets import MAX_KEYS, CannotOpen, Sealer, rotate


def test_sealed_secret_opens_only_with_its_key_and_context() -> None:
    sealer, other = Sealer(b"k" * 32), Sealer(b"o" * 32)
    sealed = sealer.seal(b"secret", "/a")
    assert b"secret" not in sealed
    assert sealer.open(sealed, "/a") == b"secret"
    for opener, text, context in (
        (other, sealed, "/a"), (sealer, sealed, "/b"), (sealer, sealed[:-1], "/a"),
        (sealer, sealed[:-1] + b"\x00", "/a"), (sealer, b"", "/a"),
    ):  # fmt: skip
        with pytest.raises(CannotOpen):
            opener.open(text, context)


def test_same_secret_is_sealed_differently_each_time() -> None:
    sealer = Sealer(b"k" * 32, Chance("s"))
    assert sealer.seal(b"secret") != sealer.seal(b"secret")


def test_key_file_is_made_once_for_root_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "seal.key"
    sealed = Sealer.from_file(path, Chance()).seal(b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Sealer.from_file(path, Chance()).open(sealed) == b"secret"


def test_key_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(b"short")


def test_a_rotated_file_seals_with_the_new_key_and_opens_with_all(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    before = Sealer.from_file(path, Chance())
    old = before.seal(b"secret", "/a")
    assert rotate(path, Chance()) == 2 and path.stat().st_mode & 0o777 == 0o600
    after = Sealer.from_file(path, Chance())
    assert after.open(old, "/a") == b"secret"
    new = after.seal(b"secret", "/a")
    with pytest.raises(CannotOpen):
        before.open(new, "/a")
    assert rotate(path, Chance()) == 3
    assert Sealer.from_file(path, Chance()).open(new, "/a") == b"secret"


def test_keys_are_not_lost_to_rotation(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    with pytest.raises(CallerFault, match="there is no"):
        rotate(path, Chance())
    sealed = Sealer.from_file(path, Chance()).seal(b"first")
    for _ in range(MAX_KEYS - 1):
        rotate(path, Chance())
    with pytest.raises(CallerFault, match="16 keys already"):
        rotate(path, Chance())
    assert Sealer.from_file(path, Chance()).open(sealed) == b"first"


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seal.key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer.from_file(path, Chance())
    assert path.read_bytes() == content
