"""The published models: names that lead to them, and facts that agree with the shapes they build."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import transformers

import sonant
from sonant import cli
from sonant.checkpoints import catalogue, hub, open_checkpoint
from sonant.checkpoints.catalogue import PublishedModel, find_model, nearest_names
from sonant.model.config import EncoderConfig
from sonant.model.encoder import Encoder
from sonant.model.heads import CtcModel

ROOT = Path(__file__).parents[2]
CONFIGS = json.loads((Path(__file__).parent / "published_configs.json").read_text())
"""What `config.json` says of each architecture, as far as it shapes the encoder."""
PUBLISHED = {  # millions, and how far such a figure may be rounded
    "wav2vec2_base": (95, 0.01),  # arXiv:2006.11477
    "wav2vec2_large": (317, 0.01),
    "wav2vec2_large_lv60": (317, 0.01),
    "xls_r_1b": (1000, 0.05),  # their names
    "xls_r_2b": (2000, 0.1),
    "mms_1b": (1000, 0.05),
    "hubert_base": (95, 0.01),  # the README of fairseq's HuBERT
    "hubert_large": (316, 0.01),
    "hubert_xlarge": (964, 0.01),  # arXiv:2106.07447
    "wavlm_base": (94.7, 0.01),  # arXiv:2110.13900
    "wavlm_large": (316.62, 0.01),
}
ENGLISH = 154
TASKS = {"text", "pre-training", "emotion", "keywords", "speakers", "languages", "voices", "turns"}
HEADS = {"voices": "ForXVector", "turns": "ForAudioFrameClassification"}
VOXCELEB = 1251
"""Speakers that published models of voices were trained to tell apart; their loss keeps a vector of each."""


def millions(config: EncoderConfig) -> float:
    with torch.device("meta"):
        model = CtcModel(config) if config.vocab_size else Encoder(config)
    return sum(p.numel() for p in model.parameters()) / 1e6


def table() -> list[str]:
    """The lines of the table in docs/models.md."""
    lines = [
        "| name | model | task | millions | labels | languages | hours | licence | WER |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for m in sonant.models():
        link = f"[`{m.hub}`](https://huggingface.co/{m.hub})" if m.hub else f"torchaudio's [`{m.bundle}`]({m.file})"
        labels = "by language" if m.labels is None else str(m.labels or "")
        hours = " + ".join(f"{h:g}" for h in (m.hours, m.transcribed_hours) if h is not None)
        wer = " / ".join(f"{w:g}" for w in m.wer)
        task, millions = m.task, str(m.parameters)
        cells = (f"`{m.name}`", link, task, millions, labels, m.languages or "", hours, m.licence or "", wer)
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return lines


@pytest.mark.parametrize("model", sonant.models(), ids=lambda m: m.name)
def test_every_row_parses_and_names_its_source(model: PublishedModel) -> None:
    labels = ENGLISH if model.labels is None else model.labels if model.task == "text" else 0
    assert model.task in TASKS
    read = EncoderConfig.from_dict({**CONFIGS[model.architecture], "vocab_size": labels or None})
    shaping = [
        f.name for f in fields(EncoderConfig) if "dropout" not in f.name and f.name not in ("layerdrop", "vocab_size")
    ]
    assert {n: getattr(read, n) for n in shaping} == {n: getattr(model.config, n) for n in shaping}
    assert (model.config.vocab_size or 0) == labels
    assert model.source.startswith("https://")
    assert (model.wer_source is None) == (model.wer == ())
    assert (model.hub is None) == (model.file is not None)
    assert model.hub is None or hub.is_name(model.hub)
    assert model.sample_rate == 16_000


def test_parameters_are_those_of_the_shapes_and_those_published() -> None:
    shapes = {(m.architecture, m.config.vocab_size): m for m in sonant.models() if m.task in ("text", "pre-training")}
    assert {architecture for architecture, _ in shapes} == set(CONFIGS) > set(PUBLISHED)
    for (architecture, _), model in shapes.items():
        counted = millions(model.config)
        assert model.parameters == pytest.approx(counted, rel=0.004, abs=0.6), model.name
        published, rounding = PUBLISHED.get(architecture, (counted, 0))
        assert counted == pytest.approx(published, rel=rounding), model.name


@pytest.mark.parametrize(
    "model", [m for m in sonant.models() if m.task not in ("text", "pre-training")], ids=lambda m: m.name
)
def test_parameters_of_classifiers_are_those_of_transformers_shapes(model: PublishedModel) -> None:
    values = {name: value for name, value in model.config.to_dict().items() if name != "architectures"}
    family = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[model.family]
    lid = model.task == "languages"
    values |= {"num_labels": model.labels or VOXCELEB, "classifier_proj_size": 1024 if lid else 256}
    config = getattr(transformers, f"{family}Config")(**values, use_weighted_layer_sum=not lid)
    kind = HEADS.get(model.task, "ForSequenceClassification")
    with torch.device("meta"):
        theirs = getattr(transformers, family + kind)(config)
    named = {name: p for name, p in theirs.named_parameters() if not name.endswith("masked_spec_embed")}
    assert model.parameters == pytest.approx(sum(p.numel() for p in named.values()) / 1e6, abs=0.6)


def test_names_lead_to_one_model_each() -> None:
    models = sonant.models()
    for attribute in ("name", "hub", "bundle"):
        names = [getattr(m, attribute) for m in models if getattr(m, attribute)]
        assert len(set(names)) == len(names)
        assert all(find_model(getattr(m, attribute)) is m for m in models if getattr(m, attribute))
    assert find_model("Base_960H") is find_model("wav2vec2-base-960h") is find_model("WAV2VEC2_ASR_BASE_960H")
    assert find_model("base-961h") is None


def test_a_short_name_opens_the_hub_s_model(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(name: str, revision: str | None, progress: bool) -> Path:
        fetched.append(name)
        raise sonant.CheckpointError("no network")

    monkeypatch.setattr(hub, "fetch", fetch)
    for name in ("base-960h", "HUBERT_ASR_LARGE", "owner/other"):
        with pytest.raises(sonant.CheckpointError, match="no network"):
            open_checkpoint(name)
    assert fetched == ["facebook/wav2vec2-base-960h", "facebook/hubert-large-ls960-ft", "owner/other"]


def test_an_unknown_name_lists_the_nearest_and_a_file_its_address() -> None:
    with pytest.raises(sonant.CheckpointError, match=r"no folder base-96h; .* such as base-960h, "):
        open_checkpoint("base-96h")
    with pytest.raises(sonant.CheckpointError, match=r"download https://.*asr_ll10m\.pth and pass the file"):
        open_checkpoint("base-10m")
    assert nearest_names("xlsr53")[0] == "xlsr-53"
    assert nearest_names("zzzzzz") == ["base-960h"]


def test_the_table_of_the_documents_is_the_catalogue_s() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert "\n".join(table()) in text, "\n".join(table())


def test_the_command_lists_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["sonant", "transcribe", "--list-models"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(catalogue.models())
    assert any(
        line.split()
        == ["base-960h", "facebook/wav2vec2-base-960h", "text", "94", "en", "apache-2.0", "3.4", "/", "8.6"]
        for line in lines
    )
