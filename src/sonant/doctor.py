"""What is installed here, and what is wrong with a recording or a model: the two reports of `sonant doctor`."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from math import log10
from pathlib import Path
from typing import Any

import numpy as np

from sonant import __version__, audio
from sonant.audio import AudioStream, Source
from sonant.checkpoints import Checkpoint, hub, open_checkpoint
from sonant.diagnose import Ear, EmissionMeter, Facts, Finding, Heard, diagnose
from sonant.engines import open_engine
from sonant.errors import AudioError, CheckpointError, EngineError, VocabularyError
from sonant.recognizer import Recognizer
from sonant.types import FloatArray

_FEATURES = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
)
"""Of a processor: those that make engines faster."""
_NOT_FOR_USERS = {"test", "dev"}
_TRIAL = 8
"""Seconds that are tried at other speeds."""
_SPEEDS = (0.5, 2.0)


def describe_installation(own_cache: Path) -> dict[str, Any]:
    """Versions, engines, processor, devices, extras and caches, fit for a bug report: no name of a user is in it."""
    requirements = metadata.requires("sonant") or []
    core = {name: _version(name) for name, extra in map(_requirement, requirements) if not extra}
    extras: dict[str, dict[str, str | None]] = {}
    for name, extra in map(_requirement, requirements):
        if extra and extra not in _NOT_FOR_USERS and name != "sonant":
            extras.setdefault(extra, {})[name] = _version(name)
    return {
        "sonant": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "processor": {"name": _processor("model name"), "cores": os.cpu_count(), "features": _features()},
        "engines": _engines(),
        "libraries": core,
        "extras": extras,
        "caches": {"sonant": _homeless(own_cache), "models": _homeless(hub.cache_folder())},
    }


def installation_text(report: Mapping[str, Any]) -> str:
    """The report for people: a line a fact."""
    processor = report["processor"]
    features = ", ".join(processor["features"]) or "none known"
    lines = [
        f"sonant       {report['sonant']}",
        f"python       {report['python']}",
        f"system       {report['system']}",
        f"processor    {processor['name'] or 'unknown'}, {processor['cores']} cores; {features}",
        *(f"{'engine ' + name:<12} {text}" for name, text in report["engines"].items()),
        f"libraries    {', '.join(f'{name} {version}' for name, version in report['libraries'].items())}",
    ]
    for extra, packages in report["extras"].items():
        missing = [name for name, version in packages.items() if version is None]
        state = ", ".join(f"{name} {version}" for name, version in packages.items())
        lines.append(f"extra {extra}: {f'not installed: pip install sonant[{extra}]' if missing else state}")
    lines += [f"cache of {name}: {folder}" for name, folder in report["caches"].items()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Examination:
    """What was found out about one recording and a model."""

    name: str
    findings: list[Finding]
    """The surest cause first."""
    facts: Facts | None
    """None where the model could not be opened."""
    codec: str | None = None

    @property
    def cause(self) -> Finding | None:
        """The surest finding that does harm."""
        return next((finding for finding in self.findings if finding.severity != "note"), None)

    @property
    def verdict(self) -> str:
        """Why the transcript is empty or bad, and what to do, in one sentence."""
        if self.cause:
            sentence = self.cause.sentence  # one of reading names the file itself
            return sentence if sentence.startswith(self.name) else f"{self.name}: {sentence}"
        sure = f"{self.facts.heard.letters:.0%} sure of its letters" if self.facts else ""
        return f"{self.name}: nothing is wrong with it that can be measured; the model is {sure}."

    def to_text(self) -> str:
        """For people: what was measured, then the findings, then the verdict."""
        lines = list(self._lines())
        lines += [f"{finding.severity:<8} {finding.sentence}" for finding in self.findings if finding != self.cause]
        return "\n".join([*lines, self.verdict]) + "\n"

    def to_json(self) -> str:
        """For programs: everything, in one object."""
        facts = self.facts
        values: dict[str, Any] = {"name": self.name, "verdict": self.verdict}
        values["findings"] = [asdict(finding) for finding in self.findings]
        if facts:
            values |= {"codec": self.codec, "sample_rate": facts.source_rate, "channels": facts.channels}
            values |= {"levels": asdict(facts.levels), "heard": asdict(facts.heard), "text": facts.text}
            checkpoint = facts.checkpoint
            wants = {"name": checkpoint.name, "sample_rate": checkpoint.sample_rate, "normalize": checkpoint.normalize}
            values["model"] = {**wants, "tokens": len(checkpoint.vocabulary) if checkpoint.vocabulary else 0}
        return json.dumps(values, ensure_ascii=False, indent=1) + "\n"

    def _lines(self) -> Iterator[str]:
        facts = self.facts
        if facts is None:
            return
        levels, heard, checkpoint = facts.levels, facts.heard, facts.checkpoint
        rate = f"{facts.source_rate} Hz" if facts.source_rate else "rate unknown"
        channels = "1 channel" if facts.channels == 1 else f"{facts.channels} channels"
        yield f"file     {self.codec or 'samples'}, {rate}, {channels}, {levels.seconds:.2f} s"
        yield (
            f"level    peak {_decibels(levels.peak)}, mean {_decibels(levels.rms)}, direct current {levels.mean:+.3f}, "
            f"{levels.clipped:.2%} clipped, {levels.active:.0%} with sound"
        )
        tokens = f"{len(checkpoint.vocabulary)} tokens" if checkpoint.vocabulary else "no tokens"
        normalised = "normalised" if checkpoint.normalize else "as it is"
        yield f"model    {checkpoint.name} wants {checkpoint.sample_rate} Hz, {normalised}; it has {tokens}"
        if heard.frames:
            sure = f"{heard.letters:.0%} sure of the letters"
            yield f"heard    {heard.blank:.0%} blanks, {sure}: {facts.text or '(nothing)'}"


def examine(
    source: Source,
    model: str | os.PathLike[str] | None = None,
    sample_rate: float | None = None,
    *,
    said: str | None = None,
    language: str | None = None,
    device: str = "auto",
) -> Examination:
    """Listen to a file or to samples, with a model, and say what is wrong; a broken file or model is a finding too.

    `said` is what was said, if that is known; `language` is for MMS models. Beside the transcription, the first eight
    seconds are heard three times more, to try other speeds.
    """
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the sound"
    findings: list[Finding] = []
    asr: Recognizer | None = None
    try:
        checkpoint = open_checkpoint(model, language=language)
        if checkpoint.vocabulary is not None:
            asr = Recognizer(checkpoint, open_engine(checkpoint, device=device))
    except (CheckpointError, EngineError) as error:
        kind = "vocabulary" if isinstance(error, VocabularyError) else "model"
        return Examination(name, [Finding(kind, str(error), "error")], None)
    try:
        with audio.open_audio(source, checkpoint.sample_rate, array_rate=sample_rate) as stream:
            ear, head = Ear(stream, checkpoint), _Head(checkpoint.sample_rate)
            try:
                text = _listen(asr, stream, ear, head)
                speeds = _try_speeds(asr, head.samples()) if asr else {}
            except (AudioError, EngineError) as error:  # a model that diverged gives numbers that are not finite
                text, speeds = "", {}
                findings.append(_unheard(error, stream, checkpoint))
            facts = replace(ear.facts(text), said=said, speeds=speeds)
    except AudioError as error:
        return Examination(name, [Finding("unreadable", str(error), "error")], None)
    return Examination(name, findings or diagnose(facts), facts, stream.codec)


class _Head:
    """Keeps the first seconds of what passes."""

    def __init__(self, sample_rate: int) -> None:
        self.room = _TRIAL * sample_rate
        self.kept: list[FloatArray] = []

    def keep(self, blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
        for block in blocks:
            if self.room > 0:
                self.kept.append(block[: self.room])
                self.room -= len(block)
            yield block

    def samples(self) -> FloatArray:
        return np.concatenate([np.zeros(0, np.float32), *self.kept])


def _listen(asr: Recognizer | None, stream: AudioStream, ear: Ear, head: _Head) -> str:
    """The greedy text of a stream; empty without a model that writes."""
    blocks = head.keep(ear.blocks())
    if asr is None:
        for _ in blocks:
            pass
        return ""
    state = asr.decoder.start(asr.vocabulary)
    for emissions in asr.pieces(stream, blocks):
        state.feed(emissions)
        ear.emissions.add(emissions)
    return state.finish()[0].text


def _unheard(error: AudioError | EngineError, stream: AudioStream, checkpoint: Checkpoint) -> Finding:
    if isinstance(error, EngineError):
        return Finding("model", str(error), "error")
    short = 0 < stream.num_samples < checkpoint.config.receptive_field
    return Finding("short" if short else "unreadable", str(error), "error")


def _try_speeds(asr: Recognizer, samples: FloatArray) -> dict[float, Heard]:
    """What is heard of the first seconds as they stand, at half and at twice the speed; nothing of too few samples."""
    rate = asr.checkpoint.sample_rate
    heard: dict[float, Heard] = {}
    if len(samples) < 2 * asr.checkpoint.config.receptive_field * max(_SPEEDS):
        return heard
    for speed in (1.0, *_SPEEDS):
        meter = EmissionMeter()
        meter.add(asr.emissions(samples, rate * speed))
        heard[speed] = meter.heard()
    return heard


def _engines() -> dict[str, str]:
    """Each engine, and what it would run on."""
    found: dict[str, str] = {}
    try:
        from sonant.engines.openvino import best_precision

        found["openvino"] = f"cpu, {best_precision()}"
    except (ImportError, RuntimeError) as error:
        found["openvino"] = f"cannot be loaded ({_line(error)})"
    try:
        from sonant.engines.torch import list_devices

        found["torch"] = ", ".join(list_devices())
    except ModuleNotFoundError:
        found["torch"] = "not installed: pip install sonant[torch]"
    except (ImportError, OSError, RuntimeError) as error:
        found["torch"] = f"cannot be loaded ({_line(error)})"
    return found


def _requirement(line: str) -> tuple[str, str | None]:
    """The name of a requirement, and the extra that it belongs to."""
    name = re.match(r"[\w.-]+", line)
    extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
    return name[0] if name else line, extra[1] if extra else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor(field: str) -> str:
    """A field of Linux's description of the processor; elsewhere what Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(rf"^{field}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _features() -> list[str]:
    flags = {*_processor("flags").split(), *_processor("Features").split()}
    return [name for name in _FEATURES if name in flags]


def _homeless(folder: Path) -> str:
    """A path without the name of its user."""
    try:
        return str(Path("~") / folder.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(folder)


def _decibels(value: float) -> str:
    return f"{20 * log10(value):.0f} dB" if value > 0 else "zero"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
