"""Tar shards: recordings with their lines beside them, read from front to back, as disks and object stores like it.

A shard holds `00000017.flac` and `00000017.json`, one pair an utterance, which WebDataset's readers take as well.
"""

from __future__ import annotations

import io
import json
import secrets
import shutil
import tarfile
import wave
from collections.abc import Iterable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from sonant.audio.samples import reason
from sonant.data.manifest import (
    Utterance,
    from_fields,
    parse_object,
    read_encoded,
    read_utterance,
    to_fields,
    write_manifest,
)
from sonant.errors import DataError, OptionError, OutputError
from sonant.files import open_output

BLOCK = 512
"""Bytes that everything in a tar is rounded up to; each member has one as its header."""
END = 20 * BLOCK
"""Bytes that a tar may end with."""


def write_shards(
    utterances: Iterable[Utterance],
    folder: str | PathLike[str],
    name: str = "train",
    *,
    max_bytes: int = 1_000_000_000,
    sample_rate: int = 16_000,
) -> list[Path]:
    """Write `NAME-000000.tar` and so on, each below `max_bytes`, and `NAME.jsonl` over them: all of it or nothing.

    Files are copied as they are; a part of a long file becomes a WAV of 16 bits at `sample_rate`. The order is that of
    `utterances`: shuffle them first. Raises `AudioError` for what cannot be read, `OutputError` where there are such
    shards already or no room, `OptionError` where one utterance is larger than a shard.
    """
    place = Path(folder)
    if next(place.glob(f"{name}-*.tar"), None) is not None:
        raise OutputError(f"{place} holds shards of the name {name} already; delete them, or choose another name.")
    partial = place / f".sonant-{secrets.token_hex(8)}.tmp"
    shards: list[Path] = []
    try:
        partial.mkdir(parents=True)
        lines = list(_write(utterances, partial, name, max_bytes, sample_rate))
        shards = [place / path.name for path in sorted(partial.iterdir())]
        for shard in shards:
            (partial / shard.name).rename(shard)
        write_manifest(place / f"{name}.jsonl", (_moved(u, place) for u in lines))
    except BaseException as error:
        for shard in shards:
            shard.unlink(missing_ok=True)
        if not isinstance(error, OSError) or isinstance(error, OutputError):
            raise
        raise OutputError(f"{place} cannot take the shards ({reason(error)}); choose another, or make room.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return shards


def read_shards(paths: Iterable[str | PathLike[str]]) -> Iterator[Utterance]:
    """The utterances of shards, in order, each with the bytes of its audio; every shard is read once, front to back.

    Raises `DataError` for what is no shard, or ends too early.
    """
    for path in paths:
        try:
            with tarfile.open(path, "r|*") as tar:
                yield from _pairs(tar, str(path))
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist; check the path and the folder it starts from.") from error
        except (OSError, EOFError, tarfile.TarError) as error:
            raise DataError(
                f"{path} must be a whole tar archive, but is not ({reason(error)}); copy it again."
            ) from error


def _write(
    utterances: Iterable[Utterance], folder: Path, name: str, max_bytes: int, sample_rate: int
) -> Iterator[Utterance]:
    """Each utterance as it is found in the shards that were written to `folder`."""
    source = enumerate(utterances)
    held: tuple[Utterance, list[tuple[str, bytes]]] | None = None
    shard = 0
    while True:
        path, size = folder / f"{name}-{shard:06}.tar", END
        held = held or _next_entry(source, sample_rate)
        if held is None:
            return
        with open_output(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            while held is not None:
                utterance, members = held
                more = sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for _, data in members)
                if more + END > max_bytes:
                    raise OptionError(
                        f"A shard must hold at least one utterance, but {utterance.name} takes {more} bytes of "
                        f"{max_bytes}; allow larger shards."
                    )
                if size + more > max_bytes:
                    break
                for member, data in members:
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                size += more
                yield from_fields(json.loads(members[1][1]), path, str(path))
                held = _next_entry(source, sample_rate)
        shard += 1


def _next_entry(
    source: Iterator[tuple[int, Utterance]], sample_rate: int
) -> tuple[Utterance, list[tuple[str, bytes]]] | None:
    """The next utterance, with the members that hold it: its audio, its line."""
    number, utterance = next(source, (0, None))
    if utterance is None:
        return None
    suffix = PurePosixPath(utterance.audio).suffix
    if utterance.offset is None:
        data = read_encoded(utterance)
    else:
        suffix, data = ".wav", _wav(utterance, sample_rate)
    fields = to_fields(utterance, f"{number:08}{suffix}")
    fields.pop("offset", None)
    line = json.dumps(fields, ensure_ascii=False).encode()
    return utterance, [(f"{number:08}{suffix}", data), (f"{number:08}.json", line)]


def _wav(utterance: Utterance, sample_rate: int) -> bytes:
    samples = np.clip(read_utterance(utterance, sample_rate) * 32768, -32768, 32767)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(np.round(samples).astype("<i2").tobytes())
    return file.getvalue()


def _moved(utterance: Utterance, folder: Path) -> Utterance:
    """The utterance of a shard that now lies in `folder`."""
    shard, member = Path(utterance.audio).parts[-2:]
    return replace(utterance, audio=str(folder / shard / member))


def _pairs(tar: tarfile.TarFile, shard: str) -> Iterator[Utterance]:
    """Audio and line come in either order, one right after the other."""
    waiting: tuple[str, str, bytes] | None = None
    for entry in tar:
        if not entry.isreg():
            continue
        file: IO[bytes] | None = tar.extractfile(entry)
        data = file.read() if file else b""
        member = entry.name.removeprefix("./")
        key = str(PurePosixPath(member).with_suffix(""))
        if waiting is None:
            waiting = key, member, data
            continue
        if waiting[0] != key:
            raise DataError(f"{shard} must hold audio and .json in pairs, but {waiting[1]} has none; write it again.")
        sound, line = (waiting[1:], (member, data)) if member.endswith(".json") else ((member, data), waiting[1:])
        fields = parse_object(line[1].decode(errors="replace"), f"{shard}/{line[0]}", 1)
        fields["audio_filepath"] = sound[0]
        yield from_fields(fields, Path(shard), f"{shard}/{line[0]}", encoded=sound[1])
        waiting = None
    if waiting is not None:
        raise DataError(f"{shard} must hold audio and .json in pairs, but {waiting[1]} has none; copy it again.")
