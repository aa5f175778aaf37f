"""A backup's file is read only whole and as it was written."""

import io
import tarfile
from pathlib import Path

import pytest

from proa.cli import archive


def written(folder: Path, **members: str) -> Path:
    path = folder / "b.proa"
    with archive.Writer(path) as writer:
        writer.add_text(archive.ABOUT, '{"format": 1}')
        writer.add_text(archive.RECORDS, "records")
        for name, text in members.items():
            writer.add_text(f"files/{name}", text)
    return path


def test_an_archive_says_what_it_is_and_keeps_its_files_modes(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("k")
    secret.chmod(0o600)
    path = tmp_path / "b.proa"
    with archive.Writer(path) as writer:
        writer.add_text(archive.ABOUT, '{"format": 1, "x": 2}')
        writer.add_text(archive.RECORDS, "")
        writer.add_file("files/key", secret)
        writer.add_file("files/gone", tmp_path / "gone")
    assert archive.check(path) == {"format": 1, "x": 2}
    assert archive.modes(path)["files/key"] == 0o600
    assert path.stat().st_mode & 0o777 == 0o600
    assert "files/gone" not in archive.modes(path)


def test_an_archive_whose_writing_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), archive.Writer(tmp_path / "b.proa") as writer:
        writer.add_text(archive.ABOUT, "{}")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_an_archive_that_was_cut_short_is_no_backup(tmp_path: Path, share: float) -> None:
    path = written(tmp_path, a="x" * 5000)
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    with pytest.raises(archive.NoBackup):
        archive.check(path)


def rewritten(path: Path, change: dict[str, bytes], without: str = "") -> None:
    """The archive with other contents under the old checksums."""
    members = {}
    with tarfile.open(path) as tar:
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            members[info.name] = file.read()
    with tarfile.open(path, "w:gz") as tar:
        for name, body in {**members, **change}.items():
            if name != without:
                info = tarfile.TarInfo(name)
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))


@pytest.mark.parametrize(
    ("change", "without"),
    [
        ({"files/a": b"other"}, ""),
        ({"files/more": b""}, ""),
        ({}, "files/a"),
        ({}, "records"),
        ({}, "SHA256SUMS"),
        ({"../out": b""}, ""),
        ({"/etc/out": b""}, ""),
    ],
)
def test_an_archive_that_was_changed_is_no_backup(
    tmp_path: Path, change: dict[str, bytes], without: str
) -> None:
    path = written(tmp_path, a="1")
    rewritten(path, change, without)
    with pytest.raises(archive.NoBackup):
        archive.check(path)


@pytest.mark.parametrize("body", [b"", b"hello", b"\x1f\x8b\x08\x00nothing"])
def test_another_file_is_no_backup(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(body)
    with pytest.raises(archive.NoBackup):
        archive.check(path)
