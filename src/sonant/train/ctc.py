"""Letters from audio, aligned by nobody: CTC.

Shapes: B rows, N samples, T frames, V tokens.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonant import text
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.data.batches import Batch
from sonant.errors import DataError, OptionError
from sonant.model.config import EncoderConfig
from sonant.model.convolutions import frame_mask
from sonant.model.encoder import Encoder
from sonant.model.heads import CtcModel, load_weights
from sonant.train.metrics import Sums
from sonant.train.recipe import Recipe
from sonant.train.task import Losses, configure, draw_masks, hardship
from sonant.types import FloatArray, Vocabulary

LETTERS_A_FRAME = 0.3


class CtcTraining(nn.Module):
    """A CTC model, and in training from scratch the layer that tells a spectrum from its convolutions."""

    def __init__(self, ctc: CtcModel, mel_bands: int) -> None:
        super().__init__()
        self.ctc = ctc
        self.to_mel = nn.Linear(ctc.config.conv_dim[-1], mel_bands) if mel_bands else None


class CtcTask:
    """Letters from audio, aligned by nobody: CTC, from scratch, from a pre-trained encoder, or by an adapter alone."""

    better, target = "wer", "text"
    labelled, wants_clean, guard, watched = True, False, None, ()

    def __init__(self, recipe: Recipe, texts: Sequence[str | None]) -> None:
        if missing := sum(text is None for text in texts):
            raise DataError(
                f"Every utterance must have a text to learn from, but {missing} of {len(texts)} have none; "
                "leave them out of the manifest."
            )
        self.recipe, start = recipe, recipe.model.start
        checkpoint = open_checkpoint(start) if start else None
        self.sample_rate = checkpoint.sample_rate if checkpoint else recipe.data.sample_rate
        self.normalize = checkpoint.normalize if checkpoint else recipe.data.normalize
        self.language = recipe.data.language or None
        kept = checkpoint.require_vocabulary() if checkpoint and recipe.task.head == "keep" else None
        self.case: text.Case = text.vocabulary_case(kept) if kept else recipe.data.case
        self.notes, learnt = self._normalised([raw or "" for raw in texts])
        self.vocabulary: Vocabulary = kept or text.build_vocabulary(learnt, spaces=recipe.data.spaces)
        self.space = self.vocabulary.space
        self.config = configure(recipe, checkpoint, len(self.vocabulary))
        self.mel_weight = 0.0 if checkpoint else recipe.task.mel_weight
        self.model = CtcTraining(_build(self.config, checkpoint, keep=kept is not None), 80 if self.mel_weight else 0)
        self.bands = mel_bands(80, fft_size(self.config), self.sample_rate) if self.mel_weight else None
        if recipe.task.train_only == "adapter" and not any("adapter" in n for n, _ in self.model.named_parameters()):
            raise OptionError(
                "task.train_only = adapter needs a model with language adapters, but this one has none; "
                "set model.config.adapter_attn_dim, such as 16, and begin with a model whose norms stand first."
            )

    def _normalised(self, texts: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
        """What normalisation dropped, as sentences, and what it left."""
        dropped: Counter[str] = Counter()
        learnt: list[str] = []
        data = self.recipe.data
        for raw in texts:
            kept, lost = text.normalise(raw, case=self.case, keep=data.keep, digits=data.digits)
            learnt.append(kept)
            dropped += lost
        most = ", ".join(f"{char!r} {count} times" for char, count in dropped.most_common(12))
        return ((f"Normalisation dropped {most} from the transcripts.",) if most else ()), learnt

    def text(self, raw: str) -> str:
        """A transcript as it is learnt: normalised."""
        data = self.recipe.data
        return text.normalise(raw, case=self.case, keep=data.keep, digits=data.digits)[0]

    def begin(self, waveforms: Iterator[FloatArray]) -> None:
        """Nothing need be known."""

    def set_trainable(self, step: int) -> None:
        """Head always; adapters alone or all but frozen convolutions; nothing but the head at the beginning."""
        task = self.recipe.task
        only_head = step < task.freeze_transformer_steps
        frozen_convolutions = bool(self.recipe.model.start) and task.freeze_convolutions
        for name, parameter in self.model.named_parameters():
            learns = name.startswith(("ctc.lm_head.", "to_mel."))
            if not learns and not only_head:
                if task.train_only == "adapter":
                    learns = ".adapter_layer." in name
                else:
                    learns = not (frozen_convolutions and ".feature_extractor." in name)
            parameter.requires_grad_(learns)

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """CTC's loss a letter; rows that no alignment fits count nothing and are named."""
        ctc = self.model.ctc
        mask, channels = draw_masks(self.recipe, self.config, batch, generator, hardship(self.recipe, step))
        out = ctc.backbone(batch.waveforms, batch.lengths, mask, mask_channels=channels)
        log_probs = ctc.lm_head(ctc.dropout(out.last)).float().log_softmax(-1)
        targets = [text.encode(words, self.vocabulary, unknown=True) for words in batch.texts]
        frames = [self.config.num_frames(n) for n in batch.lengths.tolist()]
        fits = [text.needed_frames(row) <= num for row, num in zip(targets, frames, strict=True)]
        rows = ctc_rows(log_probs, frames, targets, self.vocabulary.blank)
        total = (rows * torch.tensor(fits, device=rows.device)).sum()
        letters = sum(len(row) for row, fit in zip(targets, fits, strict=True) if fit)
        metrics = {"ctc": (total.item(), float(letters)), "infinite": (float(fits.count(False)), float(len(fits)))}
        weight = self.mel_weight * max(0.0, 1 - step / max(self.recipe.task.mel_share * self.recipe.schedule.steps, 1))
        if weight and self.model.to_mel is not None:
            distance, num = self._mel_distance(batch, out.features, frames)
            # a letter lasts about three frames: so weighted, this is a mean beside CTC's mean a letter
            total = total + weight * distance * LETTERS_A_FRAME
            metrics["mel"] = (distance.item(), num)
        excluded = tuple(name for name, fit in zip(batch.names, fits, strict=True) if not fit)
        return Losses(total, float(letters), metrics, excluded)

    def _mel_distance(self, batch: Batch, features: Tensor, frames: Sequence[int]) -> tuple[Tensor, float]:
        """Sum over real frames of the mean distance of predicted from true log-mel bands, and their number."""
        assert self.model.to_mel is not None
        assert self.bands is not None
        true = log_mel(batch.waveforms, self.bands.to(features.device), self.config)
        apart = (self.model.to_mel(features).float() - true).abs().mean(-1)  # (B, T)
        real = frame_mask(torch.tensor(frames, device=apart.device), apart.shape[1])
        return (apart * real).sum(), float(sum(frames))

    @torch.no_grad()
    def score(self, batches: Iterable[Batch]) -> Sums:
        """Word and character error rate of the best path, and the loss a letter."""
        words, chars, lost, letters = text.Errors(), text.Errors(), 0.0, 0
        for batch in batches:
            out = self.model.ctc(batch.waveforms, batch.lengths)
            log_probs = out.logits.float().log_softmax(-1)
            frames = [self.config.num_frames(n) for n in batch.lengths.tolist()]
            targets = [text.encode(said, self.vocabulary, unknown=True) for said in batch.texts]
            lost += ctc_rows(log_probs, frames, targets, self.vocabulary.blank).sum().item()
            letters += sum(map(len, targets))
            for best, num, said in zip(log_probs.argmax(-1).tolist(), frames, batch.texts, strict=True):
                heard = [token for token, _ in itertools.groupby(best[:num]) if token != self.vocabulary.blank]
                reading = text.decode(heard, self.vocabulary)
                words += text.word_errors(said, reading)
                chars += text.char_errors(said, reading)
        rates = {"wer": words, "cer": chars}
        sums = {name: (float(errors.total), float(errors.length)) for name, errors in rates.items()}
        return sums | {"dev_loss": (lost, float(letters))}

    def save(self, folder: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
        """Write the CTC model as a folder that `sonant.load` and transformers take."""
        tensors = {
            name.removeprefix("ctc."): tensor.cpu().numpy()
            for name, tensor in weights.items()
            if name.startswith("ctc.")
        }
        save_checkpoint(
            folder,
            self.config,
            tensors,
            self.vocabulary,
            sample_rate=self.sample_rate,
            normalize=self.normalize,
            dtype=dtype,  # type: ignore[arg-type]
            language=self.language,
        )


def ctc_rows(log_probs: Tensor, frames: Sequence[int], targets: Sequence[Sequence[int]], blank: int) -> Tensor:
    """(B, T, V) log-probabilities to each row's loss (B,); 0, with gradient 0, where no alignment fits."""
    where = "cpu" if log_probs.device.type == "mps" else log_probs.device  # MPS has no CTC
    return F.ctc_loss(
        log_probs.transpose(0, 1).to(where),
        torch.tensor([token for row in targets for token in row], dtype=torch.long, device=where),
        torch.tensor(frames),
        torch.tensor([len(row) for row in targets]),
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )


def fft_size(config: EncoderConfig) -> int:
    """The power of two that holds the samples a frame sees."""
    return 2 ** math.ceil(math.log2(config.receptive_field))


def mel_bands(count: int, size: int, sample_rate: int) -> Tensor:
    """Triangles evenly spaced on the mel scale up to 95 % of what the rate holds, (size // 2 + 1, count)."""
    top = 2595 * math.log10(1 + 0.475 * sample_rate / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, count + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.linspace(0, sample_rate / 2, size // 2 + 1, dtype=torch.float64)[:, None]
    width = edges.diff()
    rise, fall = (hertz - edges[:-2]) / width[:-1], (edges[2:] - hertz) / width[1:]
    return torch.minimum(rise, fall).clamp(min=0).float()


def log_mel(waveforms: Tensor, bands: Tensor, config: EncoderConfig) -> Tensor:
    """(B, N) to logarithmic mel bands (B, T, bands) on the frames of the encoder."""
    span = config.receptive_field
    windows = waveforms.float().unfold(1, span, config.hop) * torch.hann_window(span, device=waveforms.device)
    power = torch.fft.rfft(windows, 2 * (len(bands) - 1)).abs().square()
    with torch.autocast(waveforms.device.type, enabled=False):
        return (power @ bands + 1e-3).log()


def _build(config: EncoderConfig, checkpoint: Checkpoint | None, keep: bool) -> CtcModel:
    """A model with a checkpoint's weights: all of them (`keep`), or its encoder's without language adapters."""
    if checkpoint is None:
        return CtcModel(config)
    if keep:
        with torch.device("meta"):
            model = CtcModel(config)
        load_weights(model, checkpoint)
        return model
    model = CtcModel(config)
    plain = EncoderConfig.from_dict({k: v for k, v in config.to_dict().items() if k != "adapter_attn_dim"})
    with torch.device("meta"):
        encoder = Encoder(plain)
    load_weights(encoder, checkpoint)
    model.backbone.load_state_dict(encoder.state_dict(), strict=False, assign=True)
    return model
