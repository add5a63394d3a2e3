"""How soon are words shown and final in live captions, how often do they change, and what do they cost?

    python benchmarks/live.py FOLDER [--strings|--speaker 8226] [--model MODEL] [--minutes 4] [--invented] [--running]

Utterances of a manifest (`--strings`: strings of five digits made of FSDD's recordings 0 to 4) are put together with
pauses and fed to streams of several settings, a tenth of a second at a time; of a `--speaker` all utterances follow one
another as they were read. Latencies count from a word's end: of strings where its sound ends, of other speech where
its TextGrid (`alignments/` beside the manifest) has it, or else the transcript of the whole recording. `aware` ones
add the processor's time, of one thread, and what waits for it. `erased` are words taken back, a final word.
`--invented` counts words in minutes of silence, noises, music and babble instead; `--running` normalises by the level
so far in place of the window's own. Written to results/live.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

import sonant
from sonant import audio
from sonant.stream import common_prefix
from sonant.text import count_errors
from sonant.windows import Level
from windows import levelled, read_strings, read_utterances  # this folder's script

from machine import describe, write_result  # isort: skip

RATE = 16000
PIECE = RATE // 10
DEFAULT = {"step": 0.4, "window": 8.0, "margin": 1.0, "endpoint": 0.8, "hold": 0.2}
GRID = [
    {},
    *({"margin": margin} for margin in (0.3, 0.6, 1.5)),
    *({"window": window} for window in (4.0, 6.0, 12.0)),
    *({"step": step} for step in (0.2, 0.6)),
    *({"endpoint": endpoint} for endpoint in (0.5, 1.2)),
    *({"hold": hold} for hold in (0.0, 0.1, 0.3)),
]


@dataclass
class Recording:
    samples: np.ndarray
    said: list[str]
    ends: list[float] | None
    """Seconds where each word's sound ends; None where nobody knows."""


@dataclass
class Followed:
    """What a reader of one stream's captions saw."""

    final: list[str] = field(default_factory=list)
    committed: list[tuple[float, float]] = field(default_factory=list)
    """When each word was final: by the audio's clock, and with the time spent on it."""
    shown: list[tuple[float, float]] = field(default_factory=list)
    displays: list[tuple[float, float, list[str]]] = field(default_factory=list)
    erased: int = 0
    seconds: float = 0.0
    """Of the processor."""


def follow(stream: sonant.Stream, samples: np.ndarray) -> Followed:
    seen, busy = Followed(), 0.0
    shown: list[str] = []
    pieces = [samples[i : i + PIECE] for i in range(0, len(samples), PIECE)]
    for i in range(len(pieces) + 1):
        began = time.process_time()
        events = stream.feed(pieces[i]) if i < len(pieces) else stream.finish()
        spent = time.process_time() - began
        seen.seconds += spent
        now = stream.seconds
        busy = max(busy, now) + spent
        for event in events:
            words = [word.text.upper() for word in event.words]
            tail = words if event.kind == "partial" else []
            if event.kind == "final":
                seen.final += words
                seen.committed += [(now, busy)] * len(words)
        if events:
            display = seen.final + tail
            same = common_prefix(shown, display)
            seen.erased += len(shown) - same
            seen.displays.append((now, busy, display))
            shown = display
    return seen


def first_shown(seen: Followed) -> list[tuple[float, float]]:
    """When each final word first stood at its place."""
    found: list[tuple[float, float] | None] = [None] * len(seen.final)
    for now, busy, display in seen.displays:
        for i, (word, final) in enumerate(zip(display, seen.final, strict=False)):
            if found[i] is None and word == final:
                found[i] = (now, busy)
    return [when for when in found if when is not None]


def latencies(times: list[tuple[float, float]], heard: list[str], truth: list[str], ends: list[float]) -> dict:
    """p50, p95 and p99 of the delay of the words that are right, without and with the time they cost."""
    pairs: list[tuple[int, int]] = []
    for block in SequenceMatcher(None, heard, truth, autojunk=False).get_matching_blocks():
        pairs += [(block.a + k, block.b + k) for k in range(block.size)]
    table = {}
    for name, column in (("unaware", 0), ("aware", 1)):
        delays = [times[i][column] - ends[j] for i, j in pairs]
        table[name] = [round(float(np.percentile(delays, p)), 2) for p in (50, 95, 99)] if delays else None
    return table


def digit_recordings(folder: Path, minutes: float) -> list[Recording]:
    """Strings with pauses, and where each digit's sound ends."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    rows = [row for row in rows if int(Path(row["audio_filepath"]).stem.rsplit("_", 1)[1]) < 5]
    random, made = np.random.default_rng(0), []
    for speaker in sorted({row["speaker"] for row in rows}):
        own = [row for row in rows if row["speaker"] == speaker]
        parts, said, ends, total = [], [], [], 0
        while total < minutes * 60 * RATE / 6:
            for k in random.integers(len(own), size=random.integers(3, 9)):
                clip = levelled(audio.read(folder / own[k]["audio_filepath"]))
                pause = int(random.uniform(0.05, 0.4) * RATE)
                said.append(own[k]["text"].upper())
                ends.append((total + sound_end(clip)) / RATE)
                parts += [clip, np.zeros(pause, np.float32)]
                total += len(clip) + pause
            parts.append(np.zeros(int(random.uniform(0.5, 3.0) * RATE), np.float32))
            total += len(parts[-1])
        noise = random.standard_normal(total).astype(np.float32) * 1e-4
        made.append(Recording(np.concatenate(parts) + noise, said, ends))
    return made


def sound_end(clip: np.ndarray) -> int:
    """The sample after which nothing is louder than 5 % of the loudest."""
    power = np.convolve(np.square(clip, dtype=np.float64), np.ones(320) / 320, "same")
    return int(np.flatnonzero(power > power.max() * 0.05**2)[-1]) + 1


def speech_recordings(folder: Path, minutes: float) -> list[Recording]:
    """Each speaker's utterances in turn, with pauses."""
    utterances = read_utterances(folder, None)
    speakers = sorted({speaker for *_, speaker in utterances})[:4]
    random, made = np.random.default_rng(0), []
    for speaker in speakers:
        parts, said, total = [], [], 0
        for samples, text, who in utterances:
            if who == speaker and total < minutes * 60 * RATE / len(speakers):
                pause = random.standard_normal(int(random.uniform(0.2, 1.5) * RATE)).astype(np.float32) * 1e-4
                parts += [samples, pause]
                said += text.split()
                total += len(samples) + len(pause)
        made.append(Recording(np.concatenate(parts), said, None))
    return made


def speaker_recording(folder: Path, speaker: str, minutes: float) -> Recording:
    """One speaker's utterances in the order in which they were read, without pauses in between."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    parts, said, ends, total = [], [], [], 0
    for row in sorted((row for row in rows if row["speaker"] == speaker), key=lambda row: row["audio_filepath"]):
        path = folder / row["audio_filepath"]
        grid = folder / "alignments" / f"{path.stem}.TextGrid"
        said += row["text"].upper().split()
        if grid.exists():
            ends += [total / RATE + word.end for word in sonant.Transcript.read(grid).words]
        parts.append(audio.read(path))
        total += len(parts[-1])
        if total > minutes * 60 * RATE:
            break
    return Recording(np.concatenate(parts), said, ends if len(ends) == len(said) else None)


def measure(asr: sonant.Recognizer, recordings: list[Recording], settings: dict[str, float]) -> dict:
    """One row of results, over all recordings."""
    followed, offline = [], []
    for recording in recordings:
        with asr.stream(**settings) as stream:
            followed.append(follow(stream, recording.samples))
        offline.append(asr.transcribe(recording.samples, RATE))
    audio_seconds = sum(len(r.samples) for r in recordings) / RATE
    shift, said, truth, ends, whole = 0.0, [], [], [], []
    joined = {name: ([], []) for name in ("shown", "committed")}
    for recording, seen, talk in zip(recordings, followed, offline, strict=True):
        said += recording.said
        whole += [word.text.upper() for word in talk.words]
        truth += recording.said if recording.ends else [word.text.upper() for word in talk.words]
        ends += [shift + end for end in (recording.ends or [word.end for word in talk.words])]
        for name, times, words in (
            ("shown", first_shown(seen), seen.final),
            ("committed", seen.committed, seen.final),
        ):
            joined[name][0].extend((now + shift, busy + shift) for now, busy in times)
            joined[name][1].extend(words)
        shift += len(recording.samples) / RATE
    final = joined["committed"][1]
    return {
        **DEFAULT,
        **settings,
        "wer": wer(said, final),
        "wer_offline": wer(said, whole),
        "wer_to_offline": wer(whole, final),
        "erased": round(sum(seen.erased for seen in followed) / max(len(final), 1), 3),
        **{name: latencies(*pair, truth, ends) for name, pair in joined.items()},
        "seconds_per_cpu_second": round(audio_seconds / sum(seen.seconds for seen in followed), 1),
    }


def wer(said: list[str], heard: list[str]) -> float:
    return round(100 * count_errors(said, heard).rate, 2)


def sounds(speech: list[np.ndarray], seconds: int) -> dict[str, np.ndarray]:
    """What nobody says anything in."""
    random, time_axis = np.random.default_rng(0), np.arange(seconds * RATE) / RATE
    white = random.standard_normal(len(time_axis)).astype(np.float32)
    brown = np.cumsum(white) - np.convolve(np.cumsum(white), np.ones(800) / 800, "same")
    chords = [[220, 277, 330], [196, 247, 294], [175, 220, 262], [165, 208, 247]]
    music = sum(
        np.sin(2 * np.pi * f * k * time_axis) / k**2 * (((time_axis // 2).astype(int) % 4) == i)
        for i, chord in enumerate(chords)
        for f in chord
        for k in (1, 2, 3, 4)
    ) * np.exp(-((time_axis % 0.5) * 3))
    babble = np.zeros(len(time_axis), np.float32)
    for start in range(12):
        voice = np.concatenate([speech[i] for i in random.permutation(len(speech))[: max(seconds, 8)]])
        babble += np.resize(np.roll(voice, start * RATE), len(babble))
    faint = white * np.float32(1e-5)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(white)).astype(np.float32)
    pink /= pink.std()
    return {
        "silence": np.zeros(len(time_axis), np.float32),
        "faint noise": faint,
        **{f"white noise {db} dBFS": white * np.float32(10 ** (db / 20)) for db in (-60, -40, -20)},
        **{f"pink noise {db} dBFS": pink * np.float32(10 ** (db / 20)) for db in (-60, -40, -20)},
        "rumble": (brown / brown.std() * 0.05).astype(np.float32),
        "hum": (0.05 * np.sin(2 * np.pi * 50 * time_axis) + 1e-4 * white).astype(np.float32),
        "music": (music / music.std() * 0.05).astype(np.float32),
        "babble": levelled(babble),
    }


def invented(asr: sonant.Recognizer, speech: list[np.ndarray], seconds: int) -> list[dict]:
    """Words a minute in each sound: from the stream's beginning, and after a minute of speech."""
    rows = []
    before = np.concatenate([speech[0], np.zeros(2 * RATE, np.float32)])
    for name, samples in sounds(speech, seconds).items():
        row: dict[str, object] = {"sound": name}
        for place, lead in (("at once", np.zeros(0, np.float32)), ("after speech", before)):
            seen = follow(asr.stream(), np.concatenate([lead, samples]))
            heard = [i for i, (now, _) in enumerate(seen.committed) if now > len(lead) / RATE]
            row[place] = round(len(heard) / seconds * 60, 2)
        row["offline"] = round(len(asr.transcribe(samples, RATE).words) / seconds * 60, 2)
        print(row, flush=True)
        rows.append(row)
    return rows


def by_the_level_so_far(level: Level, samples: np.ndarray) -> np.ndarray:
    """What `--running` puts in the place of `Level.normalise`."""
    deviation = np.sqrt(level.squares / max(level.count, 1) + 1e-7)
    return ((samples - level.mean) / deviation).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder with manifest.jsonl")
    parser.add_argument("--model", help="a folder or name; the built-in model where not given")
    parser.add_argument("--strings", action="store_true", help="make strings of FSDD's digits")
    parser.add_argument("--speaker", help="this one alone, as read")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--lm", help="a language model, for a beam search")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--settings", help="one line of JSON in place of the grid")
    parser.add_argument("--invented", action="store_true", help="count words where nobody speaks")
    parser.add_argument("--running", action="store_true", help="normalise by the level so far")
    parser.add_argument("--name", default="live", help="of the file under results/")
    options = parser.parse_args()
    if options.running:
        Level.normalise = by_the_level_so_far
    asr = sonant.load(options.model, precision=options.precision, threads=1, lm=options.lm)
    if options.invented:
        read = read_strings if options.strings else lambda folder: read_utterances(folder, None)
        rows = invented(asr, [samples for samples, *_ in read(options.folder)], round(options.minutes * 60))
    else:
        make = digit_recordings if options.strings else speech_recordings
        if options.speaker:
            recordings = [speaker_recording(options.folder, options.speaker, options.minutes)]
        else:
            recordings = make(options.folder, options.minutes)
        rows = []
        for settings in [json.loads(options.settings)] if options.settings else GRID:
            rows.append(measure(asr, recordings, settings))
            print(json.dumps(rows[-1]), flush=True)
    facts = {"data": options.folder.name, "model": asr.checkpoint.name, "minutes": options.minutes}
    facts |= {"normalised": "running" if options.running else "by window", "lm": options.lm}
    write_result(options.name, {"machine": describe(), **facts, "rows": rows})


if __name__ == "__main__":
    main()
