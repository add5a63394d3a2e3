"""Training steps of sonant's models and of transformers', as `train_speed.py` compares them.

Both read the same folder, and learn from batches of noise whose lengths are distributed as LibriSpeech's.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16000
VOCABULARY = 32
LETTERS_A_SECOND = 14
DURATIONS = (
    1.9, 3.7, 5.3, 7.5, 9.1, 10.7, 11.8, 12.5, 13.0, 13.4, 13.8, 14.0, 14.3, 14.6, 14.8, 15.1, 15.3, 15.5, 15.8, 16.0,
    17.0,
)  # fmt: skip
"""Seconds at the twentieths of train-clean-100's distribution, without its few longest."""
CLIPS = 3000
SMALL: dict[str, Any] = {
    "conv_bias": True, "feat_extract_norm": "layer", "hidden_size": 256, "num_hidden_layers": 8,
    "num_attention_heads": 4, "intermediate_size": 1024, "do_stable_layer_norm": True,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "widening": SMALL | {"conv_dim": (48, 64, 96, 128, 192, 256, 256)},
    "even": SMALL | {"conv_dim": (256,) * 7},
    "base": {"hidden_dropout": 0.1, "attention_dropout": 0.1, "feat_proj_dropout": 0.1},
}
MASKED = {"ctc": 0.05, "frozen": 0.05, "contrastive": 0.65}
"""Share of the frames that masks would hide if they never overlapped, by task."""
SPAN = 10


@dataclass(frozen=True)
class Job:
    """What a worker does."""

    option: str
    task: str
    folder: str
    device: str
    threads: int
    batch_seconds: float
    steps: int
    """Steps of a round."""

    @property
    def own(self) -> bool:
        return self.option.endswith("-own")


@dataclass(frozen=True)
class Option:
    """A model and how it learns."""

    model: Any
    prepare: Callable[[Any], tuple[Any, ...]]
    """From a batch to what `loss` takes, on the host."""
    loss: Callable[..., Any]


def clip_seconds() -> np.ndarray:
    return np.interp(np.random.default_rng(0).random(CLIPS), np.linspace(0, 1, len(DURATIONS)), DURATIONS)


def make_planner(batch_seconds: float) -> Any:
    """The plan of `sonant train`."""
    from sonant.data.plan import Batches, Planner

    return Planner(clip_seconds().tolist(), [None] * CLIPS, Batches(batch_seconds))


def make_batches(job: Job) -> tuple[list[Any], Iterator[Any]]:
    """Batches that warm up, and those to measure, without end."""
    from sonant.data.batches import Loader
    from sonant.data.plan import Row

    random, seconds = np.random.default_rng(1), clip_seconds()
    planner = make_planner(job.batch_seconds)
    noise = random.standard_normal(int(RATE * DURATIONS[-1])).astype(np.float32)
    loader = Loader(
        read=lambda i: noise[: int(seconds[i] * RATE)],
        names=[""] * CLIPS,
        texts=["a" * int(s * LETTERS_A_SECOND) for s in seconds],
        sample_rate=RATE, normalize=True, fewest=400, seed=0,
    )  # fmt: skip

    def made(steps: list[Any]) -> Iterator[Any]:
        return (loader.batch(step.rows, step.seconds, 0, 0.0)[0] for step in steps)

    steps = [step for step in planner.steps(0) if len(step.rows) == step.size]
    if not job.own:  # a few lengths, spread as the steps are
        ordered = sorted(steps, key=lambda step: step.seconds)
        few = list(made([ordered[int((i + 0.5) * len(ordered) / job.steps)] for i in range(job.steps)]))
        return few, itertools.cycle(few)
    if job.option == "sonant-own":  # in a run, every length soon has come
        return list(made(list({step.seconds: step for step in steps}.values()))), made(steps * 100)

    def padded_to_longest() -> Iterator[Any]:
        longest = np.mean([random.choice(seconds, 6).max() for _ in range(1000)])
        while True:
            own = random.choice(CLIPS, max(1, round(job.batch_seconds / longest)), replace=False)
            rows = [Row((int(i),), (), 1.0, float(seconds[i])) for i in own]
            yield loader.batch(rows, seconds[own].max(), 0, 0.0)[0]

    batches = padded_to_longest()
    return list(itertools.islice(batches, 3)), batches


def first_row(batch: Any) -> Any:
    """A batch of its first row alone, without padding."""
    return replace(
        batch, waveforms=batch.waveforms[:1, : int(batch.lengths[0])], lengths=batch.lengths[:1], texts=batch.texts[:1]
    )


def draw_masks(batch: Any, config: Any, task: str, generator: Any) -> Any:
    """(B, T)"""
    import torch

    from sonant.model.masks import SpanSpec, sample_spans

    frames = torch.tensor([config.num_frames(n) for n in batch.lengths.tolist()])
    return sample_spans(frames, SpanSpec(MASKED[task], SPAN), generator, config.num_frames(batch.waveforms.shape[1]))


def targets(batch: Any) -> list[list[int]]:
    """Letters for each row: only their number matters."""
    letters = np.random.default_rng(0).integers(5, VOCABULARY, 1000)
    return [letters[: len(text)].tolist() for text in batch.texts]


# The options.


def sonant_option(job: Job) -> Option:
    import torch
    import torch.nn.functional as F

    from sonant.checkpoints import open_checkpoint
    from sonant.model.config import PretrainConfig
    from sonant.model.heads import CtcModel, load_weights
    from sonant.model.masks import sample_negatives
    from sonant.model.pretrain import ContrastiveModel

    checkpoint, generator = open_checkpoint(job.folder), torch.Generator().manual_seed(0)
    config, pretrain = checkpoint.config, PretrainConfig(feature_penalty_weight=0.0)
    noise = torch.Generator(job.device).manual_seed(0)

    def prepare_choice(batch: Any) -> tuple[Any, ...]:
        mask = draw_masks(batch, config, job.task, generator)
        return batch.waveforms, batch.lengths, mask, sample_negatives(mask, pretrain.num_negatives, generator)

    def choose(waveforms: Any, lengths: Any, mask: Any, negatives: Any) -> Any:
        waveforms, mask, negatives = (t.to(job.device) for t in (waveforms, mask, negatives))
        return model(waveforms, lengths, mask, negatives, noise).loss

    def prepare_letters(batch: Any) -> tuple[Any, ...]:
        mask = draw_masks(batch, config, job.task, generator) if job.own else None
        return batch.waveforms, batch.lengths, mask, targets(batch)

    def spell(waveforms: Any, lengths: Any, mask: Any, letters: list[list[int]]) -> Any:
        out = model(waveforms.to(job.device), lengths, None if mask is None else mask.to(job.device))
        log_probs = out.logits.float().log_softmax(-1).transpose(0, 1)
        flat = torch.tensor([t for row in letters for t in row])
        frames = torch.tensor([config.num_frames(n) for n in lengths.tolist()])
        sizes = torch.tensor([len(row) for row in letters])
        return F.ctc_loss(log_probs, flat.to(job.device), frames, sizes, reduction="sum") / len(flat)

    if job.task == "contrastive":
        model: Any = ContrastiveModel(config, pretrain)
        load_weights(model, checkpoint, job.device)
        return Option(model, prepare_choice, choose)
    model = CtcModel(config)
    load_weights(model, checkpoint, job.device)
    model.backbone.feature_extractor.requires_grad_(job.task == "ctc")
    return Option(model, prepare_letters, spell)


def transformers_option(job: Job) -> Option:
    import torch
    from transformers import Wav2Vec2ForCTC, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices as draw_mask
    from transformers.models.wav2vec2.modeling_wav2vec2 import _sample_negative_indices as draw_negatives
    from transformers.utils import logging

    from sonant.checkpoints import open_checkpoint
    from sonant.model.masks import sample_negatives

    logging.disable_progress_bar()
    config, generator = open_checkpoint(job.folder).config, torch.Generator().manual_seed(0)
    kind = Wav2Vec2ForPreTraining if job.task == "contrastive" else Wav2Vec2ForCTC
    model = kind.from_pretrained(job.folder).to(job.device)
    model.config.mask_time_prob = MASKED[job.task] if job.own else 0.0
    model.config.ctc_loss_reduction = "sum"
    if job.task == "frozen":
        model.freeze_feature_encoder()

    def attended(lengths: Any, width: int) -> Any:
        return (torch.arange(width) < lengths[:, None]).long()

    def prepare_choice(batch: Any) -> tuple[Any, ...]:
        num_negatives, width = model.config.num_negatives, batch.waveforms.shape[1]
        if job.own:  # as the collator of its example draws them
            frames = torch.tensor([config.num_frames(n) for n in batch.lengths.tolist()])
            shape = (len(frames), config.num_frames(width))
            drawn = draw_mask(shape, MASKED[job.task], SPAN, attended(frames, shape[1]), min_masks=2)
            negatives = torch.from_numpy(draw_negatives(shape, num_negatives, drawn))
            mask = torch.from_numpy(drawn)
        else:  # from places among a row's masked frames to places among all frames of the batch
            mask = draw_masks(batch, config, job.task, generator)
            drawn = sample_negatives(mask, num_negatives, generator)
            negatives = torch.zeros(*mask.shape, num_negatives, dtype=torch.long)
            for b, row in enumerate(mask):
                places = row.nonzero()[:, 0]
                negatives[b, places] = places[drawn[b, : len(places)]] + b * mask.shape[1]
        return batch.waveforms, attended(batch.lengths, width), mask, negatives

    def choose(waveforms: Any, attention: Any, mask: Any, negatives: Any) -> Any:
        num = mask.sum()
        waveforms, attention, mask, negatives = (t.to(job.device) for t in (waveforms, attention, mask, negatives))
        out = model(waveforms, attention, mask_time_indices=mask, sampled_negative_indices=negatives)
        return out.loss / num

    def prepare_letters(batch: Any) -> tuple[Any, ...]:
        letters = targets(batch)
        labels = torch.full((len(letters), max(map(len, letters))), -100)
        for row, target in zip(labels, letters, strict=True):
            row[: len(target)] = torch.tensor(target)
        return batch.waveforms, attended(batch.lengths, batch.waveforms.shape[1]), labels

    def spell(waveforms: Any, attention: Any, labels: Any) -> Any:
        num = (labels >= 0).sum()
        return model(waveforms.to(job.device), attention.to(job.device), labels=labels.to(job.device)).loss / num

    return Option(model, *((prepare_choice, choose) if job.task == "contrastive" else (prepare_letters, spell)))


def make_model(name: str, task: str, folder: str) -> None:
    """Write a model with random weights as a Hugging Face folder."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2ForPreTraining
    from transformers.utils import logging

    from sonant.model.config import EncoderConfig

    logging.disable_progress_bar()
    torch.manual_seed(0)
    values = EncoderConfig(**MODELS[name]).to_dict()
    del values["architectures"]
    kind = Wav2Vec2ForPreTraining if task == "contrastive" else Wav2Vec2ForCTC
    kind(Wav2Vec2Config(**values, vocab_size=VOCABULARY)).save_pretrained(folder)
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    Path(folder, "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
