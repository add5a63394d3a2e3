from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonant.errors import OutputError
from sonant.files import make_folder, open_output, write_text


def listing(folder: Path) -> dict[str, int]:
    return {place.name: place.lstat().st_mtime_ns for place in folder.iterdir()} if folder.is_dir() else {}


def refused(path: Path, text: str = "new") -> str:
    before = listing(path.parent)
    with pytest.raises(OutputError) as caught:
        write_text(path, text)
    assert listing(path.parent) == before
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_what_was_there_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "a long text that was there before")
    write_text(str(path), "größe\r\n")
    assert path.read_bytes() == "größe\r\n".encode()
    assert list(listing(tmp_path)) == ["a.txt"]


def test_permissions_follow_the_umask_or_the_old_file(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "")
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
        (tmp_path / "a.txt").chmod(0o600)
        write_text(tmp_path / "a.txt", "private")
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(umask)


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_places_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    (tmp_path / "old.txt").write_text("old")
    assert "its folder does not exist" in refused(tmp_path / "nowhere" / "a.txt")
    assert "is a folder" in refused(tmp_path)
    assert "is a device or a pipe" in refused(tmp_path / "pipe.txt")
    assert "is a device or a pipe" in refused(Path("/dev/null"))
    assert "could not be written (File name too long)" in refused(tmp_path / ("x" * 300))
    assert "could not be written" in refused(tmp_path / "old.txt" / "a.txt")
    assert "could not be written" in refused(tmp_path / "loop.txt")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anything
    assert "may not be written" in refused(tmp_path / "old.txt")


def test_a_folder_is_made_or_refused_at_once(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a").rglob("*")) == [tmp_path / "a" / "b"]
    (tmp_path / "file").touch()
    with pytest.raises(
        OutputError, match=r"file/c must be a folder that can be written, but is not \(Not a directory\)"
    ):
        make_folder(tmp_path / "file" / "c")


@pytest.mark.parametrize("step", ["fsync", "open"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    (tmp_path / "a.txt").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    assert "(No space left on device)" in refused(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_interruption_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert list(listing(tmp_path)) == ["a.txt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KB, where this user and this machine allow one."""
    place = tmp_path / "disk"
    place.mkdir()
    if not shutil.which("mount"):
        pytest.skip("no disk can be mounted here")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up(small_disk: Path) -> None:
    write_text(small_disk / "a.txt", "old")
    assert "(No space left on device)" in refused(small_disk / "a.txt", "new" * 100_000)
    assert (small_disk / "a.txt").read_text() == "old"
    write_text(small_disk / "a.txt", "new" * 100)


def test_a_file_that_is_written_piece_by_piece_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with open_output(path) as file:
        file.write(b"one")
        assert not path.exists()
        file.write(b" two")
    assert path.read_bytes() == b"one two"
    assert list(listing(tmp_path)) == ["a.bin"]


@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError("ours"), ValueError), (OSError(errno.ENOSPC, "full"), OutputError)]
)
def test_what_a_writer_raises_leaves_the_old_file(tmp_path: Path, error: Exception, expected: type[Exception]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(expected, match=r"ours|full"), open_output(path) as file:  # noqa: PT012
        file.write(b"half of the n")
        raise error
    assert path.read_bytes() == b"old"
    assert list(listing(tmp_path)) == ["a.bin"]
