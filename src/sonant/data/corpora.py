"""Corpora as they are published or lie in a folder, as utterances: one function a layout, and the table of them.

Layouts that other toolkits write are in `sonant.data.interchange`. Nothing is copied or decoded: durations come from
the headers of the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from sonant import audio
from sonant.data.interchange import hf, kaldi, lhotse
from sonant.data.layouts import SUFFIXES, Choice, Layout, beside, expect, from_row, read_pairs, read_table
from sonant.data.manifest import Utterance, read_lines
from sonant.data.pool import ordered_map
from sonant.errors import AudioError, DataError


def librispeech(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """`SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` with lines of `ID TEXT`, beside `ID.flac`."""
    root = folder / choice.split if choice.split else folder
    for place in expect(sorted(root.rglob("*.trans.txt")), root, "files named *.trans.txt (LibriSpeech)"):
        for name, text in read_pairs(place, " "):
            speaker, _, rest = name.partition("-")
            extra = {"chapter": rest.partition("-")[0]}
            yield Utterance(
                beside(place.parent, name, ".flac"), None, text, speaker=speaker, language="en", extra=extra
            )


def mls(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """`SPLIT/transcripts.txt` with lines of `ID<tab>TEXT`, and `SPLIT/audio/SPEAKER/BOOK/ID.flac` (or `.opus`)."""
    root = _split_folder(folder, choice.split or "train", "transcripts.txt")
    [place] = expect([p for p in [root / "transcripts.txt"] if p.is_file()], root, "transcripts.txt (MLS)")
    for name, text in read_pairs(place, "\t"):
        speaker, book = ([*name.split("_"), ""])[:2]
        path = beside(root / "audio" / speaker / book, name, ".flac")
        yield Utterance(path, None, text, speaker=speaker, extra={"book": book})


def fleurs(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """`SPLIT.tsv` without a header (id, file, raw text, text, letters, samples, gender), and `audio/SPLIT/FILE`."""
    split = choice.split or "train"
    [place] = expect([p for p in [folder / f"{split}.tsv"] if p.is_file()], folder, f"{split}.tsv (FLEURS)")
    audio_folders = [folder / "audio" / split, folder / split, folder / "audio", folder]
    audio_folder = next((f for f in audio_folders if f.is_dir() and any(f.glob("*.wav"))), audio_folders[0])
    code = re.match(r"[a-z]{2,3}(?=_)", folder.name)
    for number, line in read_lines(place):
        row = line.rstrip("\r\n").split("\t")
        if len(row) < 4:
            raise DataError(f"{place}:{number} must have 7 columns as FLEURS has, but has {len(row)}; fetch it again.")
        extra = {"sentence": row[0], "text_raw": row[2]} | ({"gender": row[-1].lower()} if len(row) > 6 else {})
        language = code[0] if code else None
        yield Utterance(str(audio_folder / row[1]), None, row[3], language=language, extra=extra)


def commonvoice(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """`SPLIT.tsv` (client_id, path, sentence, locale, ...), `clips/`, and in newer ones `clip_durations.tsv`."""
    split = choice.split or "train"
    [place] = expect([p for p in [folder / f"{split}.tsv"] if p.is_file()], folder, f"{split}.tsv (Common Voice)")
    lengths: dict[str, float] = {}
    if (times := folder / "clip_durations.tsv").is_file():
        lengths = {row["clip"]: float(row["duration[ms]"]) / 1000 for _, row in read_table(times, "\t")}
    for number, row in read_table(place, "\t"):
        if not row.get("path") or "sentence" not in row:
            raise DataError(f"{place}:{number} must have the columns path and sentence, but has not; fetch it again.")
        name = row["path"] if Path(row["path"]).suffix else row["path"] + ".mp3"
        extra = {key: row[key] for key in ("gender", "age", "accents", "accent", "variant") if row.get(key)}
        yield Utterance(
            str(folder / "clips" / name), lengths.get(name) or None, row["sentence"],
            speaker=row.get("client_id"), language=row.get("locale"), extra=extra,
        )  # fmt: skip


def audiofolder(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """Every audio file below the folder, with the text in a `.txt` or `.lab` of its name, if there is one."""
    root = folder / choice.split if choice.split else folder
    found = sorted(place for place in root.rglob("*") if place.suffix.lower() in SUFFIXES and place.is_file())
    for place in expect(found, root, "audio files"):
        texts = [place.with_suffix(suffix) for suffix in (".txt", ".lab", ".normalized.txt")]
        text = next((" ".join(" ".join(line for _, line in read_lines(p)).split()) for p in texts if p.is_file()), None)
        yield Utterance(str(place), None, text)


def csv(folder: Path, choice: Choice) -> Iterator[Utterance]:
    """A table with a header, commas, semicolons, tabs or bars between its columns; LJ Speech's, which has no header."""
    places = [folder]
    if folder.is_dir():
        found = sorted([*folder.glob("*.csv"), *folder.glob("*.tsv")])
        wanted = (choice.split, "metadata")
        places = [p for p in found if p.stem in wanted] or found
    if len(places) != 1:
        names = ", ".join(place.name for place in places) or "none"
        raise DataError(f"{folder} must hold one table, .csv or .tsv, but holds {names}; pass the table's own path.")
    for number, row in read_table(places[0]):
        yield from_row(row, places[0].parent, f"{places[0]}:{number}")


LAYOUTS: Mapping[str, Layout] = {
    layout.__name__: layout for layout in (librispeech, commonvoice, fleurs, mls, audiofolder, csv, kaldi, lhotse, hf)
}
"""Every layout by its name."""


def measure(
    utterances: Iterable[Utterance], left_out: list[str], *, language: str | None = None, threads: int | None = None
) -> Iterator[Utterance]:
    """The same with durations from the files' headers; what cannot be opened goes to `left_out`, a sentence each."""
    known: Callable[[str], float] = lru_cache(maxsize=4096)(_header_duration)

    def duration_of(utterance: Utterance) -> float | str:
        try:
            if utterance.duration is not None and Path(utterance.audio).is_file():
                return utterance.duration
            rest = known(utterance.audio) - (utterance.offset or 0.0)
        except AudioError as error:
            return str(error)
        return rest if rest > 0 else f"{utterance.name} begins after the file's end; correct its offset."

    for utterance, duration in ordered_map(duration_of, utterances, threads):
        if isinstance(duration, str):
            left_out.append(duration)
        else:
            yield replace(utterance, duration=round(duration, 4), language=utterance.language or language)


def _header_duration(path: str) -> float:
    """Seconds that a file's header declares; of files without one, those that it holds."""
    with audio.open_audio(path) as stream:
        if stream.duration is not None:
            return stream.duration
        return sum(len(block) for block in stream) / stream.sample_rate


def _split_folder(folder: Path, split: str, marker: str) -> Path:
    """The split's folder, or the folder itself where that is one."""
    return folder if (folder / marker).is_file() else folder / split
