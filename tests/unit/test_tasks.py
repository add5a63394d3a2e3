"""The CTC task: its loss against transformers', what learns when, and models begun from checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from parity.tiny import LARGE, TINY, checkpoint_of, random_model, random_waveform
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.data.batches import Batch
from sonant.errors import OptionError, VocabularyError
from sonant.text import needed_frames
from sonant.train.ctc import CtcTask, ctc_rows, log_mel, mel_bands
from sonant.train.recipe import Recipe
from sonant.train.task import hardship
from sonant.train.tasks import make_task
from sonant.types import Vocabulary

WORDS = ("abba", "cd e")


def write_model(folder: Path, config: Any = TINY, head: bool = True) -> str:
    """A tiny model as a folder: fine-tuned, or (without head) pre-trained only."""
    checkpoint = checkpoint_of(random_model(config))
    tensors = {name: t for name, t in checkpoint.tensors.items() if head or not name.startswith("lm_head")}
    vocabulary = checkpoint.vocabulary if head else None
    save_checkpoint(folder, replace(config, vocab_size=config.vocab_size if head else None), tensors, vocabulary)
    return str(folder)


def recipe(start: str = "", **changes: dict[str, Any]) -> Recipe:
    made = replace(Recipe(), model=replace(Recipe().model, start=start))
    for section, values in changes.items():
        made = replace(made, **{section: replace(getattr(made, section), **values)})
    return made


def batch_of(texts: tuple[str, ...], *lengths: int) -> Batch:
    waveforms = torch.zeros(len(texts), max(lengths))
    for i, length in enumerate(lengths):
        waveforms[i, :length] = torch.from_numpy(random_waveform(length, i))
    ids = tuple((i,) for i in range(len(texts)))
    return Batch(waveforms, torch.tensor(lengths), texts, texts, ids)


def learning(task: CtcTask, step: int) -> set[str]:
    task.set_trainable(step)
    return {name for name, p in task.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("config", [TINY, LARGE], ids=["group norm", "layer norm"])
@pytest.mark.parametrize("words", WORDS)
def test_loss_and_gradients_are_those_of_transformers(tmp_path: Path, config: Any, words: str) -> None:
    from transformers import Wav2Vec2ForCTC

    folder = write_model(tmp_path / "model", config)
    task = CtcTask(recipe(folder, task={"head": "keep", "freeze_convolutions": False}), [words])
    task.set_trainable(0)
    task.model.eval()  # no dropout on either side
    reference = Wav2Vec2ForCTC.from_pretrained(folder, ctc_loss_reduction="sum", ctc_zero_infinity=True).eval()
    batch = batch_of((words,), 9000)
    losses = task.loss(batch, torch.Generator(), 0)
    losses.sum.backward()
    tokens = [task.vocabulary.index["|" if char == " " else char] for char in words]
    expected = reference(batch.waveforms, labels=torch.tensor([tokens])).loss
    expected.backward()
    assert losses.count == len(words)
    assert losses.sum.item() == pytest.approx(expected.item(), rel=1e-5)
    theirs = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    ours = {name.removeprefix("ctc."): p.grad for name, p in task.model.named_parameters() if p.grad is not None}
    assert len(theirs) > 30
    for name, gradient in theirs.items():
        scale = max(gradient.abs().max().item(), 1.0)
        assert (ours[name] - gradient).abs().max().item() < 1e-5 * scale, name


def test_a_row_that_no_alignment_fits_counts_nothing() -> None:
    task = CtcTask(recipe(model={"config": TINY.to_dict() | {"vocab_size": 9}}), ["abcabcab"])
    task.set_trainable(0)
    short, both = batch_of(("abc",), 9000), batch_of(("abc", "abc" * 20), 9000, 3000)
    alone, together = (task.loss(batch, torch.Generator(), 0) for batch in (short, both))
    assert together.excluded == ("abc" * 20,)
    assert together.count == alone.count == 3
    assert together.sum.item() == pytest.approx(alone.sum.item(), rel=1e-5)
    together.sum.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.model.parameters())
    assert needed_frames([1, 1, 2, 2, 2]) == 8


def test_ctc_needs_exactly_the_frames_it_says() -> None:
    log_probs = torch.randn(1, 6, 4).log_softmax(-1)
    for tokens in ([1, 2, 3], [1, 1, 2], [1, 1, 1], [1, 2, 1, 2, 3]):
        for frames in range(1, 7):
            finite = ctc_rows(log_probs, [frames], [tokens], 0).item() > 0
            assert finite == (needed_frames(tokens) <= frames)


def test_a_fresh_head_stands_on_the_encoder_of_a_checkpoint(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", head=False)
    task = CtcTask(recipe(folder, model={"start": folder, "config": {"layerdrop": 0.25}}), ["Ab, ab!", "zé"])
    original = random_model(TINY).state_dict()
    for name, tensor in task.model.state_dict().items():
        if not name.startswith("ctc.lm_head."):
            assert torch.equal(tensor, original[name.removeprefix("ctc.")]), name
    assert task.config == replace(TINY, vocab_size=9, layerdrop=0.25)
    assert task.vocabulary.tokens[4:] == ("|", "a", "b", "z", "é")
    assert task.text("Ab, ZÉ!") == "ab zé"
    assert task.notes == ("Normalisation dropped ',' 1 times, '!' 1 times from the transcripts.",)


def test_a_vocabulary_can_be_kept(tmp_path: Path) -> None:
    task = CtcTask(recipe(write_model(tmp_path / "model"), task={"head": "keep"}), ["ab"])
    assert len(task.vocabulary) == TINY.vocab_size
    original = random_model(TINY).state_dict()
    assert torch.equal(task.model.state_dict()["ctc.lm_head.weight"], original["lm_head.weight"])
    with pytest.raises(VocabularyError, match=r"built from texts with letters"):
        CtcTask(recipe(), ["?!"])


def test_what_learns_hangs_on_recipe_and_step(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", LARGE)
    task = CtcTask(recipe(folder, task={"freeze_transformer_steps": 5}), ["ab"])
    head = {"ctc.lm_head.weight", "ctc.lm_head.bias"}
    assert learning(task, 4) == head
    names = {name for name, _ in task.model.named_parameters()}
    assert learning(task, 5) == {name for name in names if ".feature_extractor." not in name}
    scratch = CtcTask(recipe(model={"config": LARGE.to_dict()}), ["ab"])
    assert learning(scratch, 0) == names


def test_only_adapters_learn_where_asked(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", LARGE)
    adapters = {"model": {"start": folder, "config": {"adapter_attn_dim": 4}}, "task": {"train_only": "adapter"}}
    task = CtcTask(recipe(**adapters), ["ab"])
    assert learning(task, 0) == {
        name for name, _ in task.model.named_parameters() if ".adapter_layer." in name or ".lm_head." in name
    }
    original = random_model(LARGE).state_dict()
    kept = {n.removeprefix("ctc."): t for n, t in task.model.state_dict().items() if n.removeprefix("ctc.") in original}
    assert all(torch.equal(t, original[n]) for n, t in kept.items() if "lm_head" not in n)
    with pytest.raises(OptionError, match=r"needs a model with language adapters"):
        CtcTask(recipe(folder, task={"train_only": "adapter"}), ["ab"])


def test_masks_and_spoiling_set_in_by_the_recipe() -> None:
    made = recipe(schedule={"steps": 100}, augment={"clean": 0.2, "ramp": 0.4})
    assert [hardship(made, step) for step in (0, 20, 40, 60, 99)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert [hardship(recipe(), step) for step in (0, 1)] == [1, 1]


def test_masks_change_the_loss_and_hang_on_the_generator() -> None:
    masks = {"mask_time": 0.6, "mask_time_length": 3, "mask_channel": 0.5, "mask_channel_length": 4}
    task = CtcTask(recipe(model={"config": TINY.to_dict()}, augment=masks), ["ab"])
    task.model.eval()
    batch = batch_of(("ab",), 9000)
    once, again, other = (task.loss(batch, torch.Generator().manual_seed(s), 0).sum.item() for s in (1, 1, 2))
    assert once == again
    assert once != other


def test_log_mel_bands_find_a_tone() -> None:
    bands = mel_bands(80, 512, 16000)
    assert bands.shape == (257, 80)
    assert bands.sum(0).min() > 0
    times = torch.arange(16000) / 16000
    loudest = [log_mel(torch.sin(2 * torch.pi * f * times)[None], bands, TINY).mean(1).argmax() for f in (300, 3000)]
    heard = [(bands[:, i].argmax() * 16000 / 512).item() for i in loudest]
    assert heard == pytest.approx([300, 3000], rel=0.08)
    frames = log_mel(torch.zeros(2, 16000), bands, TINY)
    assert frames.shape == (2, TINY.num_frames(16000), 80)


def test_the_spectrum_counts_less_and_less() -> None:
    made = recipe(model={"config": TINY.to_dict()}, task={"mel_weight": 2.0, "mel_share": 0.5}, schedule={"steps": 10})
    task = CtcTask(made, ["ab"])
    task.model.eval()
    batch = batch_of(("ab",), 9000)
    early, late, gone = (task.loss(batch, torch.Generator(), step) for step in (0, 4, 5))
    assert early.sum > late.sum > gone.sum
    assert "mel" in early.metrics
    assert "mel" not in gone.metrics


def test_an_unknown_task_or_architecture_is_refused() -> None:
    with pytest.raises(OptionError, match=r"task\.name must be one of ctc"):
        make_task(recipe(task={"name": "ctcc"}), ["a"])
    with pytest.raises(OptionError, match=r"model\.base must be one of .*wav2vec2_base"):
        make_task(recipe(model={"base": "prod"}), ["a"])
    with pytest.raises(OptionError, match=r"hidden_size in model\.config must be a whole number, but is 'wide'"):
        make_task(recipe(model={"config": {"hidden_size": "wide"}}), ["a"])


def test_a_score_is_that_of_the_best_path(monkeypatch: pytest.MonkeyPatch) -> None:
    task = CtcTask(recipe(model={"config": TINY.to_dict()}), ["ab ba"])
    tokens = task.vocabulary.index
    path = [tokens[c] for c in ("a", "a", "<pad>", "b", "|", "b", "<pad>", "b")]
    logits = torch.full((1, 27, len(task.vocabulary)), -9.0)
    logits[0, torch.arange(27), torch.tensor(path + [0] * 19)] = 9.0
    monkeypatch.setattr(type(task.model.ctc), "forward", lambda *_: type("Out", (), {"logits": logits}))
    score = task.score([batch_of(("ab ba",), 9000)])
    assert score["wer"] == (1, 2)  # heard: ab bb
    assert score["cer"] == (1, 5)
    assert isinstance(task.vocabulary, Vocabulary)
