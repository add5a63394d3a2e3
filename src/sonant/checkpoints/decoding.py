"""How a model's makers decode it: the language model, the words and the weights that lie in its folder.

Two layouts are known: sonant's own (`decoding/`, which `sonant lm tune` writes) and pyctcdecode's (`alphabet.json` and
`language_model/`, which transformers' Wav2Vec2ProcessorWithLM reads). The decoder itself is made elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite, log
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sonant.checkpoints.vocabularies import read_json
from sonant.errors import CheckpointError, OutputError, VocabularyError
from sonant.types import Vocabulary

if TYPE_CHECKING:
    from sonant.checkpoints import Checkpoint

OWN_FOLDER, OWN_FILE = "decoding", "sonant.json"
PEER_FOLDER, PEER_FILE, PEER_WORDS, PEER_LABELS = "language_model", "attrs.json", "unigrams.txt", "alphabet.json"
PEER_MODELS = (".bin", ".binary", ".arpa")
"""What KenLM's files end in; where several lie side by side, the first of these is taken."""
PEER_WORD_LENGTH = 6
"""Letters of a word as pyctcdecode expects it."""
FORMAT = 1
WITHOUT = "or decode without it (`lm=False`, `--greedy`)"
Setting = float | bool | None


@dataclass(frozen=True)
class Decoding:
    """A language model that comes with a checkpoint, and how it is to be weighed."""

    source: Path
    """The file that says so."""
    lm: Path
    lexicon: Path | None = None
    """Words with their spellings; None takes the words of the language model."""
    known_words: Path | None = None
    """Those words of the language model, one a line, that are no unknown words; None: all are known."""
    settings: Mapping[str, Setting] = field(default_factory=dict[str, Setting])
    """Fields of `BeamSettings`, as far as they are given."""
    priors: Mapping[str, float] | None = None
    """The probability of each token, whatever is said."""


def read_decoding(folder: Path, checkpoint: Checkpoint) -> Decoding | None:
    """What the folder of a checkpoint says of its decoding; None where it says nothing, or of another language.

    sonant's own description goes before pyctcdecode's. Raises `CheckpointError` for what is damaged or does not belong
    to the checkpoint.
    """
    vocabulary = checkpoint.vocabulary
    if vocabulary is None:
        return None
    if (folder / OWN_FOLDER / OWN_FILE).exists():
        return _read_own(folder / OWN_FOLDER / OWN_FILE, checkpoint.language)
    if not (folder / PEER_FOLDER / PEER_FILE).exists():
        return None
    fault = _label_fault(folder / PEER_LABELS, vocabulary)
    if fault and checkpoint.languages:  # the labels are those of one language
        return None
    if fault:
        raise VocabularyError(f"{folder / PEER_LABELS} must list the model's tokens, but {fault}; mend it, {WITHOUT}.")
    return _read_peer(folder / PEER_FOLDER)


def _read_own(path: Path, language: str | None) -> Decoding | None:
    values = read_json(path)
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} must be of format {FORMAT}, but is of {values.get('format')!r}; tune again, {WITHOUT}."
        )
    tuned_for = values.get("language")
    if tuned_for is not None and tuned_for != language:
        return None
    files = {key: _neighbour(path, key, values.get(key)) for key in ("lm", "lexicon", "known_words")}
    if files["lm"] is None:
        raise CheckpointError(f"{path} must name a language model as lm, but names none; tune again, {WITHOUT}.")
    settings = values.get("beam")
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} must hold an object as beam, but holds {settings!r}; tune again, {WITHOUT}.")
    for name, value in cast("dict[str, object]", settings).items():
        whole = name in ("beam_size", "nbest")
        if not (value is None and name == "unknown_penalty") and (
            not isinstance(value, int if whole else int | float) or not isfinite(value)
        ):
            raise CheckpointError(f"{path} must give {name} a number, but gives {value!r}; tune again, {WITHOUT}.")
    given = cast("dict[str, Setting]", settings)
    return Decoding(path, files["lm"], files["lexicon"], files["known_words"], given, _priors(path, values))


def _priors(path: Path, values: Mapping[str, Any]) -> dict[str, float] | None:
    priors = values.get("priors")
    if priors is None:
        return None
    listed = cast("dict[str, object]", priors).values() if isinstance(priors, dict) else [priors]
    if not all(isinstance(prior, int | float) and 0 <= prior <= 1 for prior in listed):
        raise CheckpointError(
            f"{path} must give each token a probability as priors, but does not; tune again, {WITHOUT}."
        )
    return cast("dict[str, float]", priors)


def _neighbour(path: Path, key: str, name: object) -> Path | None:
    """A file that lies beside another, which names it."""
    if name is None:
        return None
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise CheckpointError(f"{path} must name a file beside itself as {key}, but names {name!r}; tune again.")
    if not (path.parent / name).is_file():
        raise CheckpointError(f"{path} names {name}, but no such file lies beside it; copy it there, {WITHOUT}.")
    return path.parent / name


def _read_peer(folder: Path) -> Decoding:
    """The weights of pyctcdecode in ours.

    A known word scores alpha ln p + beta there, and so it does here. An unknown word costs it alpha ln 10 times
    `unk_score_offset`, but while it is spelled, that offset for each six letters: here it costs the first at six
    letters, and the second for each letter, for words run together where length costs nothing. Not carried over:
    `score_boundary` (sentences always begin and end here), and the model's own score of words that are no unigrams,
    which counts as that of `<unk>` here.
    """
    path = folder / PEER_FILE
    values = {"alpha": 0.5, "beta": 1.5, "unk_score_offset": -10.0} | read_json(path)
    for name in ("alpha", "beta", "unk_score_offset"):
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise CheckpointError(f"{path} must give {name} a number, but gives {value!r}; mend it, {WITHOUT}.")
    models = in_order(folder.iterdir())
    if not models:
        raise CheckpointError(f"{folder} must hold an .arpa or a .bin file, but has none; fetch it again, {WITHOUT}.")
    words = folder / PEER_WORDS
    alpha, offset = float(values["alpha"]), max(0.0, -float(values["unk_score_offset"]))
    return Decoding(
        source=path,
        lm=models[0],
        known_words=words if words.exists() and words.stat().st_size else None,
        settings={
            "lm_weight": alpha,
            "word_bonus": float(values["beta"]),
            "unknown_penalty": max(0.0, alpha * offset * log(10) - offset),
            "letter_penalty": offset / PEER_WORD_LENGTH,
        },
    )


def in_order(files: Iterable[Path]) -> list[Path]:
    """Those of a folder's files that end as KenLM's do, the one to take first."""
    found = [path for path in files if path.suffix in PEER_MODELS and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (PEER_MODELS.index(path.suffix), path.name))


def _label_fault(path: Path, vocabulary: Vocabulary) -> str | None:
    """What keeps `alphabet.json` from being the vocabulary's; None where nothing does, or there is no such file."""
    values = read_json(path)
    if not values:
        return None
    listed = values.get("labels")
    shown = str(cast("object", listed))[:40]
    labels = cast("list[str]", listed) if isinstance(listed, list) else []
    if not labels or not all(isinstance(label, str) for label in cast("list[object]", labels)):
        return f"holds {shown!r} as labels"
    if values.get("is_bpe"):
        return "speaks of word pieces (is_bpe), which sonant does not join"
    if len(labels) != len(vocabulary):
        return f"lists {len(labels)} labels for a model with {len(vocabulary)} tokens"
    for i, (label, token) in enumerate(zip(labels, vocabulary.tokens, strict=True)):
        if not _fits(label, i, token, vocabulary):
            return f"label {i} is {label!r} where the vocabulary has {token!r}"
    return None


def _fits(label: str, i: int, token: str, vocabulary: Vocabulary) -> bool:
    """Whether a label can be the i-th token; letter case is that of the language model there."""
    if i == vocabulary.blank or label == "":
        return i == vocabulary.blank and (label in ("", "_", token) or bool(re.fullmatch(r"(?i)[<\[]pad[>\]]", label)))
    if i == vocabulary.separator or label == " ":
        return i == vocabulary.separator and label in (" ", "|", token)
    return label.casefold() == token.casefold() or (i == vocabulary.unknown and label in ("⁇", "▁⁇▁"))


def write_decoding(
    folder: Path, files: Mapping[str, Path | None], settings: Mapping[str, Setting], facts: Mapping[str, Any]
) -> None:
    """Put a description with copies of its files into a model's folder, whole or not at all, in place of an older one.

    `files` are those of `lm`, `lexicon` and `known_words` that there are; `facts` join the description, `language`
    among them where the model has several. Raises `OutputError` where the folder cannot be written.
    """
    described: dict[str, Any] = {"format": FORMAT}
    with _replacing(folder / OWN_FOLDER) as partial:
        for key, path in files.items():
            if path is not None:
                described[key] = key + (".lm" if key == "lm" else "".join(path.suffixes[-2:]) or ".txt")
                shutil.copyfile(path, partial / described[key])
        text = json.dumps({**described, "beam": dict(settings), **facts}, ensure_ascii=False, indent=2)
        (partial / OWN_FILE).write_text(text + "\n", encoding="utf-8")


@contextmanager
def _replacing(folder: Path) -> Generator[Path]:
    """A folder to write into that takes another's place once all is written, and is gone if anything fails."""
    partial, old = (folder.with_name(f".{folder.name}-{os.getpid()}.{kind}") for kind in ("partial", "old"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rename(old)
        try:
            partial.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror or error
        raise OutputError(f"{folder} could not be written ({reason}); choose another folder, or make room.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
