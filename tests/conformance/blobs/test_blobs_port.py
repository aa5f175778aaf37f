"""What every ``Blobs`` must do: the fake and the files."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.base.chance import Chance
from proa.store import blobs as port
from proa.store.blobs import (
    Blobs,
    BlobUnknown,
    DigestMismatch,
    FileBlobs,
    MemoryBlobs,
    UploadUnknown,
    WrongOffset,
    digest_of,
    read_whole,
)

Story = Callable[[Blobs], Awaitable[None]]


@pytest.fixture(params=["memory", "files"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    """Runs a test's story on blobs that nobody has used yet."""

    def run(story: Story) -> None:
        made = MemoryBlobs if request.param == "memory" else lambda c: FileBlobs(tmp_path, c)
        asyncio.run(_as_coroutine(story, made(Chance("blobs"))))

    return run


async def _as_coroutine(story: Story, blobs: Blobs) -> None:
    await story(blobs)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise ConnectionError("the client went away")


def test_blob_is_there_only_once_it_is_finished(check: Callable[[Story], None]) -> None:
    async def story(blobs: Blobs) -> None:
        upload = await blobs.begin()
        assert await blobs.append(upload, chunks(b"he", b"llo")) == 5
        digest = digest_of(b"hello")
        assert (await blobs.size(digest), await blobs.digests()) == (None, [])
        with pytest.raises(BlobUnknown):
            await read_whole(blobs, digest)
        await blobs.finish(upload, digest)
        assert (await blobs.size(digest), await blobs.digests()) == (5, [digest])
        assert await read_whole(blobs, digest) == b"hello"
        with pytest.raises(UploadUnknown):
            await blobs.offset(upload)

    check(story)


def test_upload_with_another_digest_is_dropped(check: Callable[[Story], None]) -> None:
    async def story(blobs: Blobs) -> None:
        for digest in (digest_of(b"other"), "sha256:../../etc/passwd", "md5:1"):
            upload = await blobs.begin()
            await blobs.append(upload, chunks(b"hello"))
            with pytest.raises(DigestMismatch):
                await blobs.finish(upload, digest)
            with pytest.raises(UploadUnknown):
                await blobs.offset(upload)
        assert await blobs.digests() == []

    check(story)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_content_is_kept_under_the_digest_it_was_sent_with(
    check: Callable[[Story], None], algorithm: str
) -> None:
    async def story(blobs: Blobs) -> None:
        digest, other = (digest_of(text, algorithm) for text in (b"hello", b"other"))
        upload = await blobs.begin()
        await blobs.append(upload, chunks(b"hello"))
        await blobs.finish(upload, digest)
        assert await read_whole(blobs, digest) == b"hello"
        assert await blobs.put(b"other", algorithm) == other
        assert await blobs.digests() == sorted([digest, other])
        upload = await blobs.begin()
        await blobs.append(upload, chunks(b"hello"))
        with pytest.raises(DigestMismatch, match=digest):
            await blobs.finish(upload, other)

    check(story)


def test_append_resumes_only_where_the_upload_ends(check: Callable[[Story], None]) -> None:
    async def story(blobs: Blobs) -> None:
        upload = await blobs.begin()
        with pytest.raises(ConnectionError):
            await blobs.append(upload, broken(b"abc", b"d"), at=0)
        assert await blobs.offset(upload) == 4
        for at in (0, 3, 5):
            with pytest.raises(WrongOffset) as caught:
                await blobs.append(upload, chunks(b"x"), at=at)
            assert caught.value.offset == 4
        assert await blobs.append(upload, chunks(b"ef"), at=4) == 6
        await blobs.finish(upload, digest_of(b"abcdef"))

    check(story)


def test_upload_has_one_writer_at_a_time(check: Callable[[Story], None]) -> None:
    async def story(blobs: Blobs) -> None:
        upload = await blobs.begin()
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"first"
            await go_on.wait()

        writing = asyncio.ensure_future(blobs.append(upload, slow()))
        await asyncio.sleep(0)
        with pytest.raises(WrongOffset):
            await blobs.append(upload, chunks(b"second"))
        with pytest.raises(WrongOffset):
            await blobs.finish(upload, digest_of(b""))
        with pytest.raises(WrongOffset):
            await blobs.abandon(upload)
        go_on.set()
        assert await writing == 5
        await blobs.finish(upload, digest_of(b"first"))

    check(story)


def test_abandoned_and_unknown_uploads_are_unknown(check: Callable[[Story], None]) -> None:
    async def story(blobs: Blobs) -> None:
        upload = await blobs.begin()
        await blobs.abandon(upload)
        for name in (upload, "0" * 32, "../blobs/x", ""):
            with pytest.raises(UploadUnknown):
                await blobs.offset(name)
            with pytest.raises(UploadUnknown):
                await blobs.append(name, chunks(b"x"))
            with pytest.raises(UploadUnknown):
                await blobs.finish(name, digest_of(b"x"))
            with pytest.raises(UploadUnknown):
                await blobs.abandon(name)

    check(story)


def test_uploads_are_bounded_and_the_longest_forgotten_goes(
    check: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "MAX_UPLOADS", 3)

    async def story(blobs: Blobs) -> None:
        uploads = [await blobs.begin() for _ in range(3)]
        await blobs.append(uploads[0], chunks(b"still in use"))
        uploads.append(await blobs.begin())
        with pytest.raises(UploadUnknown):
            await blobs.offset(uploads[1])
        assert [await blobs.offset(uploads[number]) for number in (0, 2, 3)] == [12, 0, 0]

    check(story)


def test_removed_blob_is_gone_and_may_come_back(check: Callable[[Story], None]) -> None:
    async def story(blobs: Blobs) -> None:
        digest = await blobs.put(b"small")
        assert await blobs.put(b"small") == digest == digest_of(b"small")
        await blobs.remove(digest)
        await blobs.remove(digest)
        await blobs.remove("sha256:none")
        assert await blobs.size(digest) is None
        await blobs.put(b"small")
        assert await read_whole(blobs, digest) == b"small"

    check(story)


@given(
    st.lists(st.binary(max_size=9), max_size=6),
    st.integers(0, 60),
    st.one_of(st.none(), st.integers(0, 60)),
)
@settings(max_examples=40, deadline=None)
def test_files_read_what_the_fake_reads(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], start: int, end: int | None
) -> None:
    async def read(blobs: Blobs) -> bytes:
        upload = await blobs.begin()
        for part in parts:
            await blobs.append(upload, chunks(part))
        digest = f"sha256:{hashlib.sha256(b''.join(parts)).hexdigest()}"
        await blobs.finish(upload, digest)
        return b"".join([chunk async for chunk in blobs.read(digest, start, end)])

    async def main() -> None:
        files = FileBlobs(tmp_path_factory.mktemp("blobs"), Chance("a"))
        assert await read(files) == await read(MemoryBlobs(Chance("a")))

    asyncio.run(main())


def test_files_resume_an_upload_of_an_earlier_process(tmp_path: Path) -> None:
    async def main() -> None:
        upload = await (before := FileBlobs(tmp_path, Chance("a"))).begin()
        await before.append(upload, chunks(b"first half, "))
        after = FileBlobs(tmp_path, Chance("b"))
        assert await after.append(upload, chunks(b"second half"), at=12) == 23
        await after.finish(upload, digest_of(b"first half, second half"))
        assert await after.digests() == [digest_of(b"first half, second half")]
        assert list((tmp_path / "uploads").iterdir()) == []

    asyncio.run(main())


def test_cancelled_append_leaves_whole_chunks(tmp_path: Path) -> None:
    async def main() -> None:
        files = FileBlobs(tmp_path, Chance("a"))
        upload = await files.begin()
        part = b"x" * port.WRITE

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield part

        writing = asyncio.ensure_future(files.append(upload, endless()))
        while await files.offset(upload) < 3 * port.WRITE:
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        size = await files.offset(upload)
        assert size % port.WRITE == 0
        await files.finish(upload, digest_of(b"x" * size))

    asyncio.run(main())
