"""What a worker does with a task: read, emit, decode, write; one model, loaded once.

A task's record is one JSON object whose keys are always all there; `sonant.jobs.parts` has them as Parquet's columns.
"""

from __future__ import annotations

import io
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from sonant.audio import AudioStream, open_audio
from sonant.audio.samples import reason
from sonant.checkpoints import Checkpoint
from sonant.data.manifest import Utterance, open_utterance, split_archive
from sonant.data.remote import fetch, find_store, is_url
from sonant.errors import AudioError, OptionError, OutputError, SonantError
from sonant.features import Spool, parse_layers
from sonant.identify import has_voice_head, read_classifier
from sonant.jobs.store import open_store
from sonant.jobs.tasks import TASKS, Outcome, Setup, Task
from sonant.recognizer import Recognizer, load
from sonant.subtitles import render
from sonant.types import Transcript, Word

OWN_FILES = "files"
"""The folder beside the parts in which an input's own files stand."""


class Workbench:
    """A model, and what a job does with it."""

    def __init__(self, setup: Setup, asr: Recognizer | None = None) -> None:
        """`asr` is what `setup.model` describes, where it is open already.

        Raises the `SonantError` of a model, or of a setting, that no input can be heard with.
        """
        self.setup = setup
        self.asr = asr or load(**setup.model)
        self.store = open_store(setup.dest)
        if setup.task not in TASKS:
            raise OptionError(f"A task must be one of {', '.join(TASKS)}, but is {setup.task!r}; choose one of them.")
        self._do = {
            "transcribe": self.transcribe,
            "align": self.align,
            "features": self.features,
            "identify": self.identify,
        }[setup.task]
        if setup.task in ("transcribe", "align"):
            self.asr.checkpoint.require_vocabulary()
        elif setup.task == "identify" and not self._hears_voices:
            read_classifier(self.asr.checkpoint)

    def __call__(self, task: Task) -> Outcome:
        """A task's outcome; whatever goes wrong becomes a sentence."""
        try:
            with open_task(task, self.asr.checkpoint.sample_rate) as stream:
                fields = self._do(task, stream)
                seconds = stream.num_samples / stream.sample_rate
        except OutputError as error:
            return Outcome(task.id, error=str(error), fatal=True)
        except SonantError as error:
            return Outcome(task.id, error=str(error))
        except Exception as error:  # noqa: BLE001  # one odd file must not end a job of a million
            sentence = f"{task.source} could not be heard, for a fault of this program ({reason(error)}); report it."
            return Outcome(task.id, error=sentence)
        head = {"id": task.id, "source": task.source, "offset": task.offset, "duration": round(seconds, 3)}
        record = json.dumps(head | fields, ensure_ascii=False).encode()
        return Outcome(task.id, record, seconds=seconds)

    def identity(self) -> dict[str, Any]:
        """What results depend on beside the input, as JSON has it: the task, the model's weights, the settings."""
        asr, setup = self.asr, self.setup
        settings: dict[str, Any] = {"task": setup.task, "model": fingerprint(asr.checkpoint), **asr.settings}
        settings |= {"about": {"model": asr.checkpoint.name}, "language": asr.checkpoint.language}
        if setup.task in ("transcribe", "align"):
            settings |= {"each": list(setup.each), "look": {key: _plain(value) for key, value in setup.look.items()}}
            settings["hotwords"] = dict(setup.model.get("hotwords") or {})
            files = {"lm": settings.get("lm"), "lexicon": setup.model.get("lexicon")}
            settings |= {name: path and _digest(Path(str(path))) for name, path in files.items()}
        else:
            settings = {key: settings[key] for key in ("task", "model", "about", *_OF_STATES)}
        if setup.task == "features":
            settings |= {"layers": setup.layers, "units": setup.units}
        return json.loads(json.dumps(settings, default=str))

    def transcribe(self, task: Task, stream: AudioStream) -> dict[str, Any]:
        """The words of a task, with times from its beginning."""
        transcript = replace(self.asr.transcribe(stream), source=task.source)
        self._write_own(task, transcript)
        return fields_of(transcript)

    def align(self, task: Task, stream: AudioStream) -> dict[str, Any]:
        """The words of a task's text, with their times and how well they fit: `Alignment` says what that means."""
        if not (task.text or "").strip():
            raise OptionError(f"{task.source} must have a text to be aligned, but has none; name it in a manifest.")
        found = self.asr.align(stream, task.text or "")
        transcript = Transcript(
            segments=found.lines,
            duration=stream.num_samples / stream.sample_rate,
            language=self.asr.checkpoint.language,
            source=task.source,
            model=self.asr.checkpoint.name,
            settings={**self.asr.settings, "decoder": "align"},
            warnings=tuple(stream.warnings),
        )
        self._write_own(task, transcript)
        return fields_of(transcript) | {"status": found.status, "score": round(float(found.score), 4)}

    def features(self, task: Task, stream: AudioStream) -> dict[str, Any]:
        """A task's states go to `files/NAME/layer_6.npy` and so on; the record says which and of how many frames."""
        layers = parse_layers(self.setup.layers) if self.setup.layers or not self.setup.units else ()
        with TemporaryDirectory(prefix="sonant-") as folder, Spool(Path(folder)) as spool:
            for piece in self.asr.feature_pieces(
                stream, layers="all" if layers is None else layers, units=self.setup.units
            ):
                spool.append(piece)
            for array in spool.arrays:
                with self.store.write(f"{OWN_FILES}/{task.name}/{array}.npy") as file:
                    spool.write_npy(array, file)
            return {"arrays": [f"{OWN_FILES}/{task.name}/{array}.npy" for array in spool.arrays],
                    "frames": spool.num_rows}  # fmt: skip

    def identify(self, _task: Task, stream: AudioStream) -> dict[str, Any]:
        """A task's labels; of a model that tells voices apart, its vector."""
        if self._hears_voices:
            vector = [round(float(number), 6) for number in self.asr.embed(stream)]
            return {"label": None, "labels": None, "step": None, "over_time": None, "embedding": vector}
        found = self.asr.classify(stream)
        return {
            "label": found.label,
            "labels": [{"label": name, "probability": round(share, 5)} for name, share in found.ranked],
            "step": round(found.step, 3),
            "over_time": [[round(float(share), 5) for share in row] for row in found.over_time],
            "embedding": None,
        }

    @property
    def _hears_voices(self) -> bool:
        return has_voice_head(self.asr.checkpoint)

    def _write_own(self, task: Task, transcript: Transcript) -> None:
        """The files that every input gets for itself."""
        for suffix in self.setup.each:
            text = render(transcript, suffix, **self.setup.look)
            with self.store.write(f"{OWN_FILES}/{task.name}{suffix}") as file:
                file.write(text.encode(errors="backslashreplace"))


_OF_STATES = ("engine", "device", "precision", "window_seconds", "margin_seconds")


@contextmanager
def open_task(task: Task, sample_rate: int) -> Generator[AudioStream]:
    """The sound of a task; `AudioError` where it cannot be had."""
    utterance = Utterance(task.audio, task.duration, offset=task.offset)
    if task.place is not None:
        utterance = replace(utterance, encoded=_read_place(task.audio, task.place))
    if utterance.encoded is not None or not is_url(task.audio):
        with open_utterance(utterance, sample_rate) as stream:
            yield stream
        return
    if (inside := split_archive(task.audio)) is not None:
        raise AudioError(f"{inside[0]} must be named itself to be read where it lies; pass it in place of a manifest.")
    with TemporaryDirectory(prefix="sonant-") as folder:
        place = Path(folder) / "sound"
        try:
            fetch(task.audio, place)
        except SonantError:
            raise
        except FileNotFoundError as error:
            raise AudioError(f"{task.source} does not exist; check its spelling.") from error
        except Exception as error:  # each store has errors of its own
            raise AudioError(f"{task.source} cannot be read ({reason(error)}); check who may read it.") from error
        with io.FileIO(place) as raw:
            raw.name = task.audio  # what messages say
            duration = task.duration if task.offset is not None else None
            with open_audio(raw, sample_rate, offset=task.offset, duration=duration) as stream:
                yield stream


def _read_place(path: str, place: tuple[int, int]) -> bytes:
    """The bytes of a member of an archive."""
    inside = split_archive(path)
    assert inside is not None, "only members of archives have a place"
    archive, (first, size) = inside[0], place
    try:
        if is_url(archive):
            files, at = find_store(archive)
            data = cast("bytes", files.cat_file(at, start=first, end=first + size))
        else:
            with Path(archive).open("rb") as file:
                file.seek(first)
                data = file.read(size)
    except SonantError:
        raise
    except Exception as error:  # each store has errors of its own
        raise AudioError(f"{archive} cannot be read ({reason(error)}); check who may read it.") from error
    if len(data) != size:
        raise AudioError(f"{path} must have {size} bytes, but {len(data)} came; copy the archive again.")
    return data


def fields_of(transcript: Transcript) -> dict[str, Any]:
    """The part of a record that tells words: times in seconds with three decimals, confidences with four."""
    return {
        "language": transcript.language,
        "text": transcript.text,
        "warnings": [warning.encode(errors="backslashreplace").decode() for warning in transcript.warnings],
        "segments": [
            {
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "text": segment.text,
                "words": [_word(word) for word in segment.words],
            }
            for segment in transcript.segments
        ],
    }


def _word(word: Word) -> dict[str, Any]:
    heard = {name: round(float(getattr(word, name)), 3) for name in ("start", "end")}
    return {"text": word.text, **heard, "confidence": round(float(word.confidence), 4)}


def fingerprint(checkpoint: Checkpoint) -> str:
    """What tells a model from every other: its weights, its settings and its tokens."""
    digest = blake2b(digest_size=16)
    tokens = checkpoint.vocabulary.tokens if checkpoint.vocabulary else ()
    known = [checkpoint.settings, tokens, checkpoint.sample_rate, checkpoint.normalize]
    digest.update(json.dumps(known, sort_keys=True, default=str).encode())
    for name in sorted(checkpoint.tensors):
        tensor = checkpoint.tensors[name]
        digest.update(f"{name} {tensor.shape}".encode())
        digest.update(memoryview(tensor.tobytes()))
    return digest.hexdigest()


def _digest(path: Path) -> str:
    """What tells a file from every other."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


def _plain(value: Any) -> Any:
    """A setting as JSON has it."""
    return asdict(value) if hasattr(value, "__dataclass_fields__") else cast("Mapping[str, Any]", value)
