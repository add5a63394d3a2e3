"""Corpora as other toolkits write them down: Kaldi's folders, lhotse's manifests, Hugging Face's data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, cast

from sonant.data.layouts import Choice, expect, from_row, read_table
from sonant.data.manifest import Utterance, parse_object, read_lines
from sonant.errors import DataError, MissingExtraError, OptionError
from sonant.files import make_folder, open_output

WHOLE = 0.02
"""Seconds by which a part may differ from its file and still be all of it."""


def kaldi(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """`wav.scp` and `text`, with `segments`, `utt2spk` and `utt2lang` where there are any."""
    root = folder / choice.split if choice.split else folder
    [scp] = expect([p for p in [root / "wav.scp"] if p.is_file()], root, "wav.scp (Kaldi)")
    files: dict[str, str] = {}
    for number, line in read_lines(scp):
        name, path = _split(line)
        if path.endswith("|"):
            raise DataError(f"{scp}:{number} names a command, which is not run, where a file was expected; "
                            "write what it gives to a file.")  # fmt: skip
        files[name] = _located(path, root)
    texts, speakers, languages = (_table(root / name) for name in ("text", "utt2spk", "utt2lang"))

    def utterance(name: str, path: str, offset: float | None, duration: float | None) -> Utterance:
        text = texts.get(name, "" if texts else None)
        return Utterance(path, duration, text, offset, speakers.get(name), languages.get(name), extra={"id": name})

    if not (root / "segments").is_file():
        yield from (utterance(name, path, None, None) for name, path in files.items() if name)
        return
    for number, line in read_lines(root / "segments"):
        where = f"{root / 'segments'}:{number}"
        try:
            name, recording, start, end = line.split()
            first, last = float(start), float(end)
        except ValueError as error:
            raise DataError(f"{where} must be `UTTERANCE RECORDING START END`, but is {line.strip()!r}.") from error
        if recording not in files:
            raise DataError(f"{where} names the recording {recording}, but wav.scp does not; complete it.")
        if last == -1:  # to the end of the file
            yield utterance(name, files[recording], first, None)
        elif 0 <= first < last:
            yield utterance(name, files[recording], first, round(last - first, 4))
        else:
            raise DataError(f"{where} must end after it begins, but goes from {start} to {end}; correct it.")


def lhotse(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """`*cuts*.jsonl`, or `*recordings*.jsonl` with `*supervisions*.jsonl`, plain or gzipped; or a file of cuts."""

    def find(kind: str) -> list[Path]:
        found = sorted([*folder.glob(f"*{kind}*.jsonl"), *folder.glob(f"*{kind}*.jsonl.gz")])
        return [place for place in found if choice.split is None or choice.split in place.name]

    if cuts := [folder] if folder.is_file() else find("cuts"):
        for place in cuts:
            for number, line in read_lines(place):
                yield from _cut(parse_object(line, place, number), f"{place}:{number}", place.parent)
        return
    recordings = {
        str(recording["id"]): recording
        for place in expect(find("recordings"), folder, "*cuts*.jsonl or *recordings*.jsonl (lhotse)")
        for number, line in read_lines(place)
        if (recording := parse_object(line, place, number)).get("id") is not None
    }
    for place in expect(find("supervisions"), folder, "*supervisions*.jsonl (lhotse)"):
        for number, line in read_lines(place):
            supervision, where = parse_object(line, place, number), f"{place}:{number}"
            if (recording := recordings.get(str(supervision.get("recording_id")))) is None:
                raise DataError(f"{where} names the recording {supervision.get('recording_id')}, which is not there.")
            yield _supervision(supervision, recording, 0.0, where, folder)


def hf(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """`metadata.csv` or `metadata.jsonl` beside the audio; or parquet or arrow files with the audio inside."""
    root = folder / choice.split if choice.split and (folder / choice.split).is_dir() else folder
    if metadata := sorted([*root.rglob("metadata.csv"), *root.rglob("metadata.jsonl")]):
        for place in metadata:
            if place.suffix == ".csv":
                rows: Iterator[tuple[int, dict[str, Any]]] = read_table(place, ",")
            else:
                rows = ((number, parse_object(line, place, number)) for number, line in read_lines(place))
            yield from (from_row(row, place.parent, f"{place}:{number}") for number, row in rows)
        return
    found = sorted([*root.rglob("*.parquet"), *root.rglob("*.arrow")])
    if choice.split and root == folder:  # data/train-00000-of-00008.parquet
        found = [place for place in found if place.name.startswith(choice.split)]
    found = expect(found, root, "metadata.csv, metadata.jsonl, *.parquet or *.arrow (Hugging Face)")
    if choice.extract is None:
        raise OptionError("Audio inside tables is written to files, but no folder for them was given; name one.")
    for place in found:
        for number, row in _rows(place):
            path = _extract(row, choice.extract, f"{place.stem}-{number:06}", f"{place} row {number}")
            yield from_row(row | {"audio_filepath": str(path.absolute())}, choice.extract, f"{place} row {number}")


def _cut(cut: Mapping[str, Any], where: str, folder: Path) -> Iterator[Utterance]:
    """What is said in a cut, utterance by utterance; all of it where nobody wrote that down."""
    recording = cut.get("recording")
    if cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut") or not isinstance(recording, dict):
        raise DataError(
            f"{where} must be a cut of one recording, but is {cut.get('type')!r}; write mixtures to files first."
        )
    recording = cast("dict[str, Any]", recording)
    whole = {"start": 0.0, "duration": cut.get("duration"), "channel": cut.get("channel")}
    for supervision in cut.get("supervisions") or [whole]:
        yield _supervision(supervision, recording, cut.get("start") or 0.0, where, folder)


def _supervision(
    supervision: Mapping[str, Any], recording: Mapping[str, Any], start: float, where: str, folder: Path
) -> Utterance:
    try:
        [source] = recording["sources"]
        path, channels, kind = str(source["source"]), list(source["channels"]), source["type"]
        first, duration, total = start + supervision["start"], float(supervision["duration"]), recording["duration"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} must have one source, its channels, start and duration, but has not ({error}); write it again."
        ) from error
    channel = supervision.get("channel", 0)
    if kind != "file" or (len(channels) > 1 and channel != channels):
        what = f"a source of the type {kind}" if kind != "file" else f"channel {channel} of {len(channels)}"
        raise DataError(f"{where} names {what}, where all of a file was expected; write it to a file of its own.")
    whole = abs(first) < WHOLE and abs(total - duration) < WHOLE
    custom = cast("dict[str, Any]", supervision.get("custom") or {})
    extra = {key: supervision[key] for key in ("id", "gender") if supervision.get(key)} | custom
    text = supervision.get("text", None if "id" not in supervision else "")
    return Utterance(
        _located(path, folder), duration, text, None if whole else round(max(first, 0.0), 4),
        supervision.get("speaker"), supervision.get("language"), extra=extra,
    )  # fmt: skip


def _rows(place: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a parquet or arrow file, a few at a time."""
    try:
        pa, parquet = (cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.parquet"))
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{place} is read with pyarrow, which is not installed: pip install 'sonant[parquet]'"
        ) from error
    try:
        if place.suffix == ".parquet":
            batches = parquet.ParquetFile(place).iter_batches(batch_size=32)
        else:
            batches = pa.ipc.open_stream(pa.memory_map(str(place)))
        number = 0
        for batch in batches:
            for row in batch.to_pylist():
                yield number, row
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{place} must be a table of pyarrow's, but cannot be read; fetch it again.") from error


def _extract(row: dict[str, Any], folder: Path, stem: str, where: str) -> Path:
    """Write the audio of a row to a file, if it is not there yet, and take it out of the row."""
    column = next((key for key, value in row.items() if isinstance(value, dict) and "bytes" in value), None)
    if column is None:
        raise DataError(f"{where} must hold audio as bytes, but has the columns {', '.join(row)}; save it with audio.")
    sound = cast("dict[str, Any]", row.pop(column))
    for name in [key for key in row if key in ("path", "file", "file_name", "id", "audio_filepath")]:
        row["source_" + name] = row.pop(name)
    if sound["bytes"] is None:
        return Path(str(sound.get("path")))
    make_folder(folder)
    path = folder / (stem + (PurePath(str(sound.get("path") or "")).suffix or ".wav"))
    if not path.exists():
        with open_output(path) as file:
            file.write(sound["bytes"])
    return path


def _table(place: Path) -> dict[str, str]:
    """Kaldi's `NAME VALUE` lines; empty where there is no such file."""
    if not place.is_file():
        return {}
    return dict(_split(line) for _, line in read_lines(place) if line.strip())


def _split(line: str) -> tuple[str, str]:
    name, *rest = line.strip().split(maxsplit=1)
    return name, rest[0] if rest else ""


def _located(path: str, folder: Path) -> str:
    """Paths are from the folder that the toolkit ran in; where that does not lead to a file, from this one."""
    return path if Path(path).is_file() or not (folder / path).is_file() else str(folder / path)
