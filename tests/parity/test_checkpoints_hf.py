"""Folders that transformers wrote open as they are, and folders that we write open there: the same logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from parity.tiny import LARGE, TINY, VARIANTS, checkpoint_of, random_model, random_waveform
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.model.config import EncoderConfig
from sonant.model.heads import CtcModel, load_weights

TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefg"]
OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def theirs(config: EncoderConfig, kind: str = "ForCTC", seed: int = 0) -> transformers.PreTrainedModel:
    """A random model of transformers, in evaluation mode, no weight of which is trivial."""
    values = config.to_dict()
    name = values["architectures"][0].removesuffix("ForCTC")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = getattr(transformers, name + kind)(getattr(transformers, name + "Config")(**values)).eval()
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def write_tokens(folder: Path, tokens: list[str] = TOKENS) -> None:
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))


def ours(checkpoint: Checkpoint) -> CtcModel:
    model = CtcModel(checkpoint.config).eval()
    load_weights(model, checkpoint)
    return model


def assert_same_logits(model: CtcModel, reference: torch.nn.Module) -> None:
    waveform = torch.from_numpy(random_waveform(4000))[None]
    with torch.no_grad():
        torch.testing.assert_close(model(waveform).logits, reference(waveform).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_saved_model_opens_with_the_same_logits(variant: str, tmp_path: Path) -> None:
    reference = theirs(VARIANTS[variant])
    reference.save_pretrained(tmp_path)
    write_tokens(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.tensors) == set(reference.state_dict())
    assert_same_logits(ours(checkpoint), reference)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("variant", ["wav2vec2-base", "hubert-batch-norm", "wavlm-base", "data2vec-audio"])
def test_a_pytorch_file_with_old_names_opens_with_the_same_logits(variant: str, zipped: bool, tmp_path: Path) -> None:
    reference = theirs(VARIANTS[variant])
    reference.config.save_pretrained(tmp_path)
    state = reference.state_dict()
    for new, old in OLD_NAMES.items():
        for name in [name for name in state if name.endswith(new)]:
            state[name.replace(new, old)] = state.pop(name)
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    write_tokens(tmp_path)
    assert_same_logits(ours(open_checkpoint(tmp_path)), reference)


@pytest.mark.parametrize("variant", ["wav2vec2-base", "hubert-base", "wavlm-base", "data2vec-audio"])
def test_a_bare_encoder_opens_under_the_names_of_models_with_a_head(variant: str, tmp_path: Path) -> None:
    reference = theirs(VARIANTS[variant], kind="Model")
    reference.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.vocabulary is None
    assert checkpoint.config.vocab_size is None
    for name, tensor in reference.state_dict().items():
        np.testing.assert_array_equal(checkpoint.weight(name, tuple(tensor.shape)), tensor.numpy())


def test_a_pre_trained_model_opens_without_a_head(tmp_path: Path) -> None:
    reference = theirs(TINY, kind="ForPreTraining")
    reference.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.vocabulary is None
    assert checkpoint.config.vocab_size is None
    assert "quantizer.codevectors" in checkpoint.tensors
    weight = reference.wav2vec2.feature_projection.projection.weight.detach().numpy()
    np.testing.assert_array_equal(checkpoint.weight("feature_projection.projection.weight", weight.shape), weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_any_stored_type_in_one_file_or_more_opens_as_float32(dtype: torch.dtype, shard: str, tmp_path: Path) -> None:
    reference = theirs(TINY).to(dtype)
    reference.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "20KB")
    write_tokens(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    for name, tensor in reference.state_dict().items():
        array = checkpoint.tensors[name]
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, tensor.float().numpy())


@pytest.mark.parametrize("outputs", [12, 10])
def test_a_saved_processor_gives_the_vocabulary_of_its_tokenizer(outputs: int, tmp_path: Path) -> None:
    """transformers numbers <s> and </s>, which vocab.json lacks, on from its last token; heads have them or not."""
    letters = ["[PAD]", "[UNK]", "|", *"abcdefg"]
    write_tokens(tmp_path, letters)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(tmp_path / "vocab.json"), pad_token="[PAD]", unk_token="[UNK]", word_delimiter_token="|"
    )
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False, sampling_rate=8000)
    processor = transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)
    folder = tmp_path / "model"
    processor.save_pretrained(folder)
    theirs(EncoderConfig(**{**TINY.__dict__, "vocab_size": outputs})).save_pretrained(folder)
    checkpoint = open_checkpoint(folder)
    vocabulary = checkpoint.vocabulary
    assert vocabulary is not None
    assert list(vocabulary.tokens) == tokenizer.convert_ids_to_tokens(list(range(outputs)))
    assert vocabulary.blank == tokenizer.pad_token_id
    assert vocabulary.separator == tokenizer.word_delimiter_token_id
    assert vocabulary.unknown == tokenizer.unk_token_id
    assert vocabulary.silent == ({0, tokenizer.bos_token_id, tokenizer.eos_token_id} if outputs == 12 else {0})
    assert (checkpoint.sample_rate, checkpoint.normalize) == (8000, False)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-2), ("bfloat16", 2e-1)])
def test_a_folder_of_ours_opens_here_and_there_alike(dtype: str, tolerance: float, tmp_path: Path) -> None:
    model = random_model(LARGE)
    made = checkpoint_of(model)
    folder = tmp_path / "ours"
    save_checkpoint(folder, made.config, made.tensors, made.vocabulary, normalize=False, dtype=dtype, note="Tests.")
    reference, report = transformers.Wav2Vec2ForCTC.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    checkpoint = open_checkpoint(folder)
    assert_same_logits(ours(checkpoint), reference.eval())
    waveform = torch.from_numpy(random_waveform(4000))[None]
    with torch.no_grad():
        difference = (reference(waveform).logits - model(waveform).logits).abs().max()
    assert difference < tolerance
    processor = transformers.Wav2Vec2Processor.from_pretrained(folder)
    assert processor.feature_extractor.do_normalize is False
    assert processor.decode([2, 2, 0, 2, 1, 3]) == "aa b"
    assert checkpoint.vocabulary == made.vocabulary
    assert (checkpoint.normalize, checkpoint.note) == (False, "Tests.")
