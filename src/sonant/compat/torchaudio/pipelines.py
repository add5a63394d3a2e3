"""`torchaudio.pipelines`: its wav2vec 2.0, XLS-R, MMS, HuBERT and WavLM bundles, with weights of Hugging Face's hub.

A file of torchaudio's that lies where it kept them (`TORCH_HOME/hub/checkpoints`) is taken first. The models that were
published as such a file only need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from sonant.checkpoints import open_checkpoint
from sonant.checkpoints.catalogue import PublishedModel, models
from sonant.checkpoints.torchaudio import BLANK, LABELS
from sonant.compat.torchaudio.absent import refuse
from sonant.compat.torchaudio.alignment import Aligner, Tokenizer
from sonant.compat.torchaudio.models.wav2vec2 import AlignmentModel, Wav2Vec2Model
from sonant.errors import CheckpointError
from sonant.model.encoder import Encoder
from sonant.model.heads import CtcModel, load_weights

if TYPE_CHECKING:
    from sonant.checkpoints import Checkpoint

__all__ = ["Wav2Vec2ASRBundle", "Wav2Vec2Bundle", "Wav2Vec2FABundle"]

_FILES = {
    "WAV2VEC2_BASE": "wav2vec2_fairseq_base_ls960.pth",
    "WAV2VEC2_ASR_BASE_10M": "wav2vec2_fairseq_base_ls960_asr_ll10m.pth",
    "WAV2VEC2_ASR_BASE_100H": "wav2vec2_fairseq_base_ls960_asr_ls100.pth",
    "WAV2VEC2_ASR_BASE_960H": "wav2vec2_fairseq_base_ls960_asr_ls960.pth",
    "WAV2VEC2_LARGE": "wav2vec2_fairseq_large_ls960.pth",
    "WAV2VEC2_ASR_LARGE_10M": "wav2vec2_fairseq_large_ls960_asr_ll10m.pth",
    "WAV2VEC2_ASR_LARGE_100H": "wav2vec2_fairseq_large_ls960_asr_ls100.pth",
    "WAV2VEC2_ASR_LARGE_960H": "wav2vec2_fairseq_large_ls960_asr_ls960.pth",
    "WAV2VEC2_LARGE_LV60K": "wav2vec2_fairseq_large_lv60k.pth",
    "WAV2VEC2_ASR_LARGE_LV60K_10M": "wav2vec2_fairseq_large_lv60k_asr_ll10m.pth",
    "WAV2VEC2_ASR_LARGE_LV60K_100H": "wav2vec2_fairseq_large_lv60k_asr_ls100.pth",
    "WAV2VEC2_ASR_LARGE_LV60K_960H": "wav2vec2_fairseq_large_lv60k_asr_ls960.pth",
    "WAV2VEC2_XLSR53": "wav2vec2_fairseq_large_xlsr53.pth",
    "WAV2VEC2_XLSR_300M": "wav2vec2_xlsr_300m.pth",
    "WAV2VEC2_XLSR_1B": "wav2vec2_xlsr_1b.pth",
    "WAV2VEC2_XLSR_2B": "wav2vec2_xlsr_2b.pth",
    "MMS_FA": "model.pt",
    "HUBERT_BASE": "hubert_fairseq_base_ls960.pth",
    "HUBERT_LARGE": "hubert_fairseq_large_ll60k.pth",
    "HUBERT_XLARGE": "hubert_fairseq_xlarge_ll60k.pth",
    "HUBERT_ASR_LARGE": "hubert_fairseq_large_ll60k_asr_ls960.pth",
    "HUBERT_ASR_XLARGE": "hubert_fairseq_xlarge_ll60k_asr_ls960.pth",
    "WAVLM_BASE": "wavlm_base.pth",
    "WAVLM_BASE_PLUS": "wavlm_base_plus.pth",
    "WAVLM_LARGE": "wavlm_large.pth",
    **{f"VOXPOPULI_ASR_BASE_10K_{to}": f"wav2vec2_voxpopuli_base_10k_asr_{to.lower()}.pt"
       for to in ("DE", "EN", "ES", "FR", "IT")},
}  # fmt: skip


@dataclass(frozen=True)
class Wav2Vec2Bundle:
    """A pre-trained model and what belongs to it."""

    published: PublishedModel

    @property
    def sample_rate(self) -> int:
        """Hertz that the model hears."""
        return self.published.sample_rate

    def get_model(self, *, dl_kwargs: dict[str, object] | None = None) -> Wav2Vec2Model:
        """The model with its weights, in evaluation mode; `dl_kwargs` is torchaudio's and does nothing.

        Raises `CheckpointError` where the weights are not to be had.
        """
        del dl_kwargs
        checkpoint = self._open()
        with torch.device("meta"):
            encoder = Encoder(checkpoint.config)
        load_weights(encoder, checkpoint)
        return self._model(encoder, None)

    def _model(self, encoder: Encoder, head: nn.Linear | None) -> Wav2Vec2Model:
        return Wav2Vec2Model(encoder, head, encoder.config.feat_extract_norm == "layer").eval()

    def _open(self) -> Checkpoint:
        """The weights: torchaudio's file if it is here, else the hub's."""
        name = str(self.published.bundle)
        place = Path(torch.hub.get_dir()) / "checkpoints" / _FILES[name]
        if place.is_file():
            return open_checkpoint(place)
        if self.published.hub is None:
            raise CheckpointError(
                f"The weights of {name} were published as a file only and expected at {place}; "
                f"download {self.published.file} to it."
            )
        return open_checkpoint(self.published.hub)


@dataclass(frozen=True)
class Wav2Vec2ASRBundle(Wav2Vec2Bundle):
    """A fine-tuned model, whose head has one row for each label."""

    letters: str

    def get_labels(self, *, blank: str = BLANK) -> tuple[str, ...]:
        """The labels in the order of the emission's last axis, CTC's blank first."""
        return (blank, *self.letters)

    def get_model(self, *, dl_kwargs: dict[str, object] | None = None) -> Wav2Vec2Model:
        """As of `Wav2Vec2Bundle`, with the rows of the head that the labels name."""
        del dl_kwargs
        return self._model(*self._parts())

    def _parts(self) -> tuple[Encoder, nn.Linear]:
        checkpoint = self._open()
        vocabulary = checkpoint.require_vocabulary()
        missing = [letter for letter in self.letters if letter not in vocabulary.index]
        if missing:
            raise CheckpointError(
                f"The weights of {self.published.bundle} must have the labels {self.letters}, but {checkpoint.name} "
                f"lacks {missing[0]}; fetch the published ones again."
            )
        with torch.device("meta"):
            model = CtcModel(checkpoint.config)
        load_weights(model, checkpoint)
        rows = [vocabulary.blank, *(vocabulary.index[letter] for letter in self.letters)]
        head = nn.Linear(checkpoint.config.hidden_size, len(rows))
        head.weight = nn.Parameter(_rows(model.lm_head.weight, rows))
        head.bias = nn.Parameter(_rows(model.lm_head.bias, rows))
        return model.backbone, head


@dataclass(frozen=True)
class Wav2Vec2FABundle(Wav2Vec2ASRBundle):
    """A fine-tuned model for alignment, in whose labels a star stands for any sound."""

    Tokenizer: ClassVar = Tokenizer
    Aligner: ClassVar = Aligner

    def get_labels(  # pyright: ignore[reportIncompatibleMethodOverride]  # torchaudio's order of arguments
        self, star: str | None = "*", blank: str = BLANK
    ) -> tuple[str, ...]:
        """The labels in the order of the emission's last axis, CTC's blank first, the star, unless None, last."""
        return (blank, *self.letters) + (() if star is None else (star,))

    def get_dict(self, star: str | None = "*", blank: str = BLANK) -> dict[str, int]:
        """From a label to its place in the emission's last axis."""
        return {label: i for i, label in enumerate(self.get_labels(star, blank))}

    def get_model(self, with_star: bool = True, *, dl_kwargs: dict[str, object] | None = None) -> AlignmentModel:
        """As of `Wav2Vec2ASRBundle`, but it gives log-probabilities, and the star's if wanted."""
        del dl_kwargs
        encoder, head = self._parts()
        return AlignmentModel(encoder, head, encoder.config.feat_extract_norm == "layer", with_star).eval()

    def get_tokenizer(self) -> Tokenizer:
        """What makes indices of a transcript's letters."""
        return Tokenizer(self.get_dict())

    def get_aligner(self) -> Aligner:
        """What finds them in an emission."""
        return Aligner(blank=0)


def _rows(whole: Tensor, rows: list[int]) -> Tensor:
    return whole.detach()[rows].clone()


def _bundles() -> dict[str, Wav2Vec2Bundle]:
    """Every bundle by torchaudio's name for it."""
    voxpopuli = {labels.language: labels.letters for labels in LABELS if labels.name == "voxpopuli"}
    librispeech, mms = (next(each.letters for each in LABELS if each.name == name) for name in ("librispeech", "mms"))
    found: dict[str, Wav2Vec2Bundle] = {}
    for model in models():
        if model.bundle is None:
            continue
        if model.bundle == "MMS_FA":
            found[model.bundle] = Wav2Vec2FABundle(model, mms)
            continue
        language = model.bundle.rpartition("_")[2].lower() if model.bundle.startswith("VOXPOPULI") else None
        letters = librispeech if language is None else voxpopuli[language]
        found[model.bundle] = Wav2Vec2ASRBundle(model, letters) if model.labels else Wav2Vec2Bundle(model)
    return found


_BUNDLES = _bundles()


def __getattr__(name: str) -> Wav2Vec2Bundle:
    """The bundle of that name; raises `NotOfferedError` for others."""
    return _BUNDLES[name] if name in _BUNDLES else refuse(__name__, name)


def __dir__() -> list[str]:
    return [*__all__, *_BUNDLES]
