"""The card of a trained model: what it is, made from what, in the form of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sonant.train.recipe import Recipe, to_toml

_CTC = "automatic-speech-recognition", "Speech to text by CTC"
_LABELLER = "audio-classification", "Labels of clips"
_VOICES = "audio-classification", "Vectors of voices"
_LISTENER = "feature-extraction", "A speech encoder, trained without transcripts"
_TRANSCRIBE = """```python
import sonant

sonant.load("FOLDER").transcribe("talk.mp3").text
```"""
_LABEL = """```python
import sonant

sonant.load("FOLDER").classify("clip.wav").ranked
```"""
_EMBED = """```python
import sonant

asr = sonant.load("FOLDER")
float(asr.embed("a.wav") @ asr.embed("b.wav"))  # 1: one voice; around 0: two
```"""
_FINE_TUNE = """It writes no text before it is fine-tuned on transcribed speech:

```text
sonant train ctc-1h --set model.start=FOLDER --set data.train=train.jsonl
```"""


def model_card(recipe: Recipe, score: Mapping[str, float], step: int) -> str:
    """A card with a model's scores after so many steps, and its recipe without the trainer's folders."""
    known = {"ctc": (_CTC, _TRANSCRIBE), "classify": (_LABELLER, _LABEL), "xvector": (_VOICES, _EMBED)}
    (tag, title), use = known.get(recipe.task.name, (_LISTENER, _FINE_TUNE))
    front = ["---", "library_name: transformers", f"pipeline_tag: {tag}"]
    if recipe.data.language:
        front.append(f"language: {recipe.data.language}")
    front += ["tags:", "- sonant", f"- {recipe.task.name}", "---"]
    shown = without_folders(recipe)
    start = f"`{shown.model.start}`" if shown.model.start else "random weights"
    results = [f"| {name} | {value:.4g} |" for name, value in score.items()]
    parts = [
        "\n".join(front),
        f"# {title}",
        f"Trained by sonant for {step} steps from {start} on {', '.join(shown.data.train)}.",
        *(["\n".join(["| on the development set | |", "|---|---|", *results])] if results else []),
        "Its weaknesses are those of its training data: other accents, rooms and topics are heard worse.",
        use,
        "## Recipe",
        f"```toml\n{to_toml(shown).rstrip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def without_folders(recipe: Recipe) -> Recipe:
    """The recipe with the names of files and folders alone: where they lie is the trainer's own affair."""
    return replace(
        recipe,
        data=replace(recipe.data, train=_names(recipe.data.train), dev=_names(recipe.data.dev)),
        model=replace(recipe.model, start=_name(recipe.model.start)),
        pretrain=replace(recipe.pretrain, teacher=_name(recipe.pretrain.teacher)),
        augment=replace(recipe.augment, noise_files=_names(recipe.augment.noise_files)),
    )


def _names(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(Path(path).name for path in paths)


def _name(source: str) -> str:
    """Of a folder the last two parts, which tell runs apart; of the hub's models the whole name."""
    return "/".join(Path(source).parts[-2:]) if Path(source).is_absolute() else source
