"""How soon are words shown and final in live captions, how often do they change, and what do they cost?

    python benchmarks/live.py DATA [--model MODEL] [--lm LM] [--share 1] [--quick]

DATA holds `librispeech-dev` and `librispeech-train` (of which speaker 8226 has TextGrids), each with manifest.jsonl.
The model hears them greedily and by beam search with its language model, or with LM; in that way, as users do, then
silence, noises, music and babble, and an hour of speech. Streams are fed a tenth of a second at a time. Latencies
(p50, p95, p99, in seconds) count from a word's end: of 8226 where the TextGrid has it, of librispeech-dev where
`sonant.align` places the text by the same model. `aware` ones add the processor's time, of one thread, and what waits
for it; `erased` are words taken back, a final word. `--share` shortens all of it (minutes are in the result), `--quick`
to a smoke test. Each part is written to results/live.json as it ends.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

import sonant
from sonant import audio
from sonant.stream import common_prefix
from sonant.text import count_errors
from windows import levelled  # this folder's script

from machine import describe, resident, write_result  # isort: skip

RATE = 16000
PIECE = RATE // 10
SPEAKER = "8226"
MINUTES = {"speech": 10.0, "sound": 10.0, "hour": 60.0}


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


def follow(stream: sonant.Stream, samples: np.ndarray, last: bool = True, began: float = 0.0) -> Followed:
    """Feed a stream that is `began` seconds old, and end it if this is its last sound."""
    seen, busy = Followed(), began
    shown: list[str] = []
    pieces = [samples[i : i + PIECE] for i in range(0, len(samples), PIECE)]
    for i in range(len(pieces) + last):
        clock = time.process_time()
        events = stream.feed(pieces[i]) if i < len(pieces) else stream.finish()
        spent = time.process_time() - clock
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


def read_speakers(folder: Path, minutes: float, only: str | None = None) -> list[Recording]:
    """Speakers' utterances in the order in which they were read, without pauses in between; ends from TextGrids."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    speakers = [only] if only else sorted({row["speaker"] for row in rows})
    made: list[Recording] = []
    for speaker in speakers:
        parts, said, ends, total = [], [], [], 0
        for row in sorted((row for row in rows if row["speaker"] == speaker), key=lambda row: row["audio_filepath"]):
            path = folder / row["audio_filepath"]
            grid = folder / "alignments" / f"{path.stem}.TextGrid"
            said += row["text"].upper().split()
            if grid.exists():
                ends += [total / RATE + word.end for word in sonant.Transcript.read(grid).words]
            parts.append(audio.read(path))
            total += len(parts[-1])
            if total > minutes * 60 * RATE / min(len(speakers), 10):
                break
        made.append(Recording(np.concatenate(parts), said, ends if len(ends) == len(said) else None))
        if sum(len(recording.samples) for recording in made) > minutes * 60 * RATE:
            break
    return made


def place(asr: sonant.Recognizer, recording: Recording) -> Recording:
    """Where the words end that were said, by forced alignment of the model's own emissions."""
    words = asr.align(recording.samples, " ".join(recording.said), RATE, star="none", leave_out=False).words
    return Recording(recording.samples, recording.said, [word.end for word in words])


def measure(asr: sonant.Recognizer, recordings: list[Recording]) -> dict:
    """One row of results, over all recordings."""
    followed, offline = [], []
    for recording in recordings:
        with asr.stream() as stream:
            followed.append(follow(stream, recording.samples))
        offline.append(asr.transcribe(recording.samples, RATE))
    audio_seconds = sum(len(r.samples) for r in recordings) / RATE
    shift, said, truth, ends, whole = 0.0, [], [], [], []
    joined = {name: ([], []) for name in ("shown", "committed")}
    for recording, seen, talk in zip(recordings, followed, offline, strict=True):
        said += recording.said
        whole += [word.text.upper() for word in talk.words]
        assert recording.ends is not None, "nobody knows where its words end"
        truth += recording.said
        ends += [shift + end for end in recording.ends]
        for name, times, words in (
            ("shown", first_shown(seen), seen.final),
            ("committed", seen.committed, seen.final),
        ):
            joined[name][0].extend((now + shift, busy + shift) for now, busy in times)
            joined[name][1].extend(words)
        shift += len(recording.samples) / RATE
    final = joined["committed"][1]
    return {
        "minutes": round(audio_seconds / 60, 2),
        "words": len(said),
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


def invented(asr: sonant.Recognizer, speech: list[np.ndarray], seconds: int) -> dict[str, dict]:
    """Words a minute in each sound, streamed, of the whole file, and of the file without the gate for noise."""
    everything = sonant.Recognizer(asr.checkpoint, asr.engine, asr.decoder, sure=0.0)
    found = {}
    for name, samples in sounds(speech, seconds).items():
        counts = {
            "streamed": len(follow(asr.stream(), samples).final),
            "offline": len(asr.transcribe(samples, RATE).words),
            "ungated": len(everything.transcribe(samples, RATE).words),
        }
        found[name] = {way: round(count / seconds * 60, 2) for way, count in counts.items()}
        print(name, found[name], flush=True)
    return found


def drift(asr: sonant.Recognizer, recordings: list[Recording], minutes: float) -> dict:
    """An hour of one stream: the first minutes beside the last, in latency, processor time and memory."""
    parts = [recording.samples for recording in recordings]
    once = np.concatenate(parts)
    begins = np.cumsum([0, *map(len, parts)]) / RATE
    ends = np.concatenate([np.add(r.ends, begin) for r, begin in zip(recordings, begins, strict=False)])
    said = [word for recording in recordings for word in recording.said]
    rounds = max(round(minutes * 60 * RATE / len(once)), 2)
    stream, length, rows = asr.stream(), len(once) / RATE, []
    for i in range(rounds):
        seen = follow(stream, once, last=i == rounds - 1, began=i * length)
        committed = [(now - i * length, busy - i * length) for now, busy in seen.committed]
        row = {"minute": round(i * length / 60, 1), "committed": latencies(committed, seen.final, said, list(ends))}
        row |= {"wer": wer(said, seen.final), "processor_seconds": round(seen.seconds, 1)}
        rows.append({**row, "resident_megabytes": round(resident())})
    return {"minutes": round(rounds * length / 60, 1), "first": rows[0], "last": rows[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of librispeech-dev and librispeech-train")
    parser.add_argument("--model", help="of English; the built-in one where not given")
    parser.add_argument("--lm", help="in place of the one that comes with the model")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--share", type=float, default=1.0, help="of ten minutes each and an hour")
    parser.add_argument("--quick", action="store_true", help="seconds of each")
    options = parser.parse_args()
    share = 0.01 if options.quick else options.share
    minutes = {name: share * value for name, value in MINUTES.items()}
    result: dict[str, Any] = {
        "machine": describe(),
        "share": share,
        "lm": Path(options.lm).name if options.lm else None,
    }

    def keep(model: str, part: str, figures: dict) -> None:
        result.setdefault(model, {})[part] = figures
        print(model, part, json.dumps(figures), flush=True)
        write_result("live", result)

    asr = sonant.load(options.model, precision=options.precision, threads=1, lm=False)
    read = read_speakers(options.data / "librispeech-dev", minutes["speech"])
    sets = {"speaker 8226": read_speakers(options.data / "librispeech-train", minutes["speech"], SPEAKER)}
    sets["librispeech-dev"] = [place(asr, recording) for recording in read]
    name = Path(asr.checkpoint.name).name
    todo = [(name, asr, sets)]
    beam = sonant.load(options.model, precision=options.precision, threads=1, lm=options.lm)
    if isinstance(beam.decoder, sonant.BeamDecoder):
        todo.append((f"{name} with a language model", beam, sets))
    for name, asr, sets in todo:
        for part, recordings in sets.items():
            keep(name, part, measure(asr, recordings))
    name, asr, sets = todo[-1]
    *_, recordings = sets.values()
    sounds_of = [recording.samples for recording in recordings]
    keep(name, "invented words a minute", invented(asr, sounds_of, round(minutes["sound"] * 60)))
    keep(name, "one stream of an hour", drift(asr, recordings, minutes["hour"]))


if __name__ == "__main__":
    main()
