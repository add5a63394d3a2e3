"""Folders in Hugging Face's layout: what they say is found, what is wrong with them is said in a sentence."""

from __future__ import annotations

import json
import random
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sonant import checkpoints
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.checkpoints.arrays import narrow, widen
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.errors import CheckpointError, OutputError, VocabularyError
from sonant.model.config import EncoderConfig
from sonant.types import Vocabulary

CONFIG = EncoderConfig(hidden_size=4, num_attention_heads=1, num_conv_pos_embedding_groups=1, vocab_size=4)
VOCABULARY = Vocabulary(("<pad>", "|", "a", "b"), blank=0, separator=1)
PLAIN = {"<pad>": 0, "|": 1, "a": 2, "b": 3}


def head(outputs: int) -> dict[str, np.ndarray]:
    """The weights of a model as far as opening it looks at them."""
    return {"lm_head.weight": np.ones((outputs, 4), np.float32), "lm_head.bias": np.zeros(outputs, np.float32)}


def write(folder: Path, outputs: int | None = 4, **files: object) -> Path:
    """A folder with a model of so many outputs, and JSON files by their names without the suffix."""
    folder.mkdir(exist_ok=True)
    save_file(head(outputs) if outputs else {"wav2vec2.masked_spec_embed": np.ones(4)}, folder / "model.safetensors")
    for name, values in {"config": {"model_type": "wav2vec2"}, **files}.items():
        (folder / f"{name}.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return folder


def vocabulary_of(folder: Path) -> Vocabulary:
    vocabulary = open_checkpoint(folder).vocabulary
    assert vocabulary is not None
    return vocabulary


# Tokens


def numbered(*tokens: str) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}


def special(*tokens: str, start: int = 0) -> dict[str, Any]:
    """`added_tokens_decoder` as transformers writes it for special tokens."""
    return {str(start + i): {"content": token, "special": True} for i, token in enumerate(tokens)}


FULL = numbered("<pad>", "<s>", "</s>", "<unk>", "|", "E", "T")
BRACKETS = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
LAYOUTS: dict[str, tuple[int, dict[str, object], Vocabulary]] = {
    "vocab.json alone": (
        7,
        {"vocab": FULL},
        Vocabulary(tuple(FULL), blank=0, separator=4, unknown=3, silent=frozenset({1, 2})),
    ),
    "letters before marks": (
        5,
        {"vocab": {"b": 2, "a": 1, "|": 0, "[UNK]": 3, "[PAD]": 4}, "tokenizer_config": BRACKETS},
        Vocabulary(("|", "a", "b", "[UNK]", "[PAD]"), blank=4, separator=0, unknown=3),
    ),
    "two tokens added, with outputs": (
        6,
        {
            "vocab": numbered("a", "|", "[UNK]", "[PAD]"),
            "added_tokens": {"<s>": 4, "</s>": 5},
            "special_tokens_map": {**BRACKETS, "bos_token": "<s>", "eos_token": "</s>"},
        },
        Vocabulary(
            ("a", "|", "[UNK]", "[PAD]", "<s>", "</s>"), blank=3, separator=1, unknown=2, silent=frozenset({4, 5})
        ),
    ),
    "two tokens added, without outputs": (
        4,
        {
            "vocab": numbered("a", "|", "[UNK]", "[PAD]"),
            "added_tokens": {"<s>": 4, "</s>": 5},
            "tokenizer_config": {**BRACKETS, "bos_token": "<s>", "eos_token": "</s>"},
        },
        Vocabulary(("a", "|", "[UNK]", "[PAD]"), blank=3, separator=1, unknown=2),
    ),
    "tokens added at run time": (
        6,
        {"vocab": numbered("a", "|", "[UNK]", "[PAD]"), "tokenizer_config": BRACKETS},
        Vocabulary(
            ("a", "|", "[UNK]", "[PAD]", "<s>", "</s>"), blank=3, separator=1, unknown=2, silent=frozenset({4, 5})
        ),
    ),
    "added tokens in the configuration": (
        4,
        {
            "vocab": numbered("a", "|", "[PAD]"),
            "tokenizer_config": {
                "pad_token": {"content": "[PAD]", "special": True},
                "unk_token": None,
                "bos_token": None,
                "eos_token": None,
                "added_tokens_decoder": special("<mark>", start=3),
            },
            "special_tokens_map": {"pad_token": "ignored beside added_tokens_decoder"},
        },
        Vocabulary(("a", "|", "[PAD]", "<mark>"), blank=2, separator=1, silent=frozenset({3})),
    ),
    "the word delimiter is a special token": (
        4,
        {"vocab": PLAIN, "tokenizer_config": {"added_tokens_decoder": special("<pad>", "|")}},
        VOCABULARY,
    ),
    "another word delimiter": (
        4,
        {"vocab": numbered("<pad>", " ", "a", "b"), "tokenizer_config": {"word_delimiter_token": " "}},
        Vocabulary(("<pad>", " ", "a", "b"), blank=0, separator=1),
    ),
    "a word delimiter that is no token": (
        3,
        {"vocab": numbered("<pad>", "あ", "い"), "tokenizer_config": {"word_delimiter_token": "|"}},
        Vocabulary(("<pad>", "あ", "い"), blank=0),
    ),
    "a word delimiter that is not written": (
        3,
        {"vocab": numbered("<pad>", "|", "あ"), "tokenizer_config": {"replace_word_delimiter_char": ""}},
        Vocabulary(("<pad>", "|", "あ"), blank=0, silent=frozenset({1})),
    ),
    "capitals that are written small": (
        4,
        {"vocab": numbered("<PAD>", "|", "A", "É"), "tokenizer_config": {"do_lower_case": True, "pad_token": "<PAD>"}},
        Vocabulary(("<PAD>", "|", "a", "é"), blank=0, separator=1),
    ),
    "phonemes": (
        4,
        {
            "vocab": numbered("<pad>", "tʃ", "aɪ", "|"),
            "tokenizer_config": {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "phone_delimiter_token": " "},
        },
        Vocabulary(("<pad>", "tʃ", "aɪ", "|"), blank=0),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tokens_are_found_in_every_layout(layout: str, tmp_path: Path) -> None:
    outputs, files, expected = LAYOUTS[layout]
    assert vocabulary_of(write(tmp_path, outputs, **files)) == expected


def test_a_nested_vocabulary_gives_the_language_it_names(tmp_path: Path) -> None:
    nested = {"eng": PLAIN, "fra": numbered("<pad>", "|", "à", "ç")}
    write(tmp_path, vocab=nested, tokenizer_config={"target_lang": "fra"})
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.vocabulary == Vocabulary(("<pad>", "|", "à", "ç"), blank=0, separator=1)
    assert checkpoint.language == "fra"
    for target in ("deu", None, 3):
        write(tmp_path, tokenizer_config={"target_lang": target})
        with pytest.raises(VocabularyError, match="set its target_lang to one of them, such as eng"):
            open_checkpoint(tmp_path)
    assert vocabulary_of(write(tmp_path, vocab={"eng": PLAIN}, tokenizer_config={})) == VOCABULARY


@pytest.mark.parametrize(
    ("outputs", "files", "sentence"),
    [
        (32, {"vocab": PLAIN}, r"The model has 32 outputs but .*vocab\.json lists 4 tokens; pass the vocabulary"),
        (3, {"vocab": PLAIN}, r"The model has 3 outputs but .*vocab\.json lists 4 tokens; pass the vocabulary"),
        (4, {}, "A model with 4 outputs must come with a vocab.json"),
        (4, {"vocab": {**PLAIN, "b": 2}}, "gives 2 to 'a' and to 'b'"),
        (4, {"vocab": {**PLAIN, "b": 7}}, "no token has the index 3"),
        (4, {"vocab": {**PLAIN, "b": "3"}}, "gives 'b' '3'"),
        (4, {"vocab": {**PLAIN, "b": 3.0}}, "gives 'b' 3.0"),
        (4, {"vocab": {**PLAIN, "b": True}}, "gives 'b' True"),
        (4, {"vocab": {**PLAIN, "b": -1}}, "gives 'b' -1"),
        (4, {"vocab": {**PLAIN, "b": None}}, "gives 'b' None"),
        (4, {"vocab": {**PLAIN, "b": {}}}, "gives 'b' {}"),
        (4, {"vocab": '{"<pad>": 0, "|": 1, "a": 2, "\\ud800": 3}'}, "half a character"),
        (4, {"vocab": numbered("|", "a", "b", "c")}, "the pad token, .* has no '<pad>'"),
        (4, {"vocab": PLAIN, "tokenizer_config": {"pad_token": None}}, "the pad token, .* has no 'pad token'"),
        (4, {"vocab": "{"}, r"vocab\.json must be JSON, but is not"),
        (4, {"vocab": "[" * 100_000}, r"vocab\.json must be JSON, but is not"),
        (4, {"vocab": "[]"}, r"vocab\.json must hold a JSON object, but holds list"),
        (4, {"vocab": PLAIN, "tokenizer_config": "3"}, r"tokenizer_config\.json must hold a JSON object"),
    ],
)  # fmt: skip
def test_tokens_that_do_not_fit_are_refused(
    outputs: int, files: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(write(tmp_path, outputs, **files))


# The rest of the folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (16000, True)),
        ({"preprocessor_config": {"do_normalize": False, "sampling_rate": 8000}}, (8000, False)),
        ({"preprocessor_config": {"sampling_rate": 16000.0}}, (16000, True)),
        ({"processor_config": {"feature_extractor": {"do_normalize": False}}}, (16000, False)),
        ({"processor_config": {"processor_class": "Wav2Vec2Processor"}}, (16000, True)),
    ],
)
def test_the_form_of_the_input_is_found(files: dict[str, object], expected: tuple[int, bool], tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, vocab=PLAIN, **files))
    assert (checkpoint.sample_rate, checkpoint.normalize) == expected


@pytest.mark.parametrize("values", [{"sampling_rate": "16k"}, {"sampling_rate": 0}, {"do_normalize": "yes"}])
def test_an_odd_form_of_the_input_is_refused(values: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"in .*preprocessor_config\.json must be"):
        open_checkpoint(write(tmp_path, vocab=PLAIN, preprocessor_config=values))


@pytest.mark.parametrize(
    ("card", "language"),
    [
        ("---\nlanguage: en\nlicense: mit\n---\n# A model", "en"),
        ("---\nlicense: mit\nlanguage:\n- de\ntags:\n- speech\n---\n", "de"),
        ('---\nlanguage: "no"\n---\n', "no"),
        ("---\r\nlanguage: fr\r\n---\r\n", "fr"),
        ("---\nlanguage: zh-TW\n---\n", "zh-TW"),
        ("---\nlanguage:\n- de\n- fr\n---\n", None),
        ("---\nlanguage: [de, fr]\n---\n", None),
        ("---\nlanguage: multilingual\n---\n", None),
        ("# A model\nlanguage: en\n", None),
        ("---\nlicense: mit\n---\nlanguage: en\n", None),
        ("---\nlanguage: en\n", None),
        ("", None),
    ],
)
def test_the_language_of_the_model_card_is_found(card: str, language: str | None, tmp_path: Path) -> None:
    write(tmp_path, vocab=PLAIN)
    (tmp_path / "README.md").write_bytes(card.encode())
    assert open_checkpoint(tmp_path).language == language


def test_a_note_is_one_printable_line(tmp_path: Path) -> None:
    note = "Reads digits.\n\x1b[31mNothing \ud83d\ude00 else." + "!" * 1000
    write(tmp_path, vocab=PLAIN, config={"model_type": "wav2vec2", "sonant": {"note": note, "language": 3}})
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.note is not None
    assert checkpoint.note.startswith("Reads digits.  [31mNothing 😀 else.!!!")
    assert checkpoint.note.isprintable()
    assert len(checkpoint.note) <= 300
    assert checkpoint.language is None


def test_a_model_without_a_head_has_no_vocabulary(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(
        write(tmp_path, None, vocab=PLAIN, config={"model_type": "wav2vec2", "vocab_size": 32})
    )
    assert checkpoint.vocabulary is None
    assert checkpoint.config.vocab_size is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("missing", "A model must be a folder or a name of Hugging Face's hub, .* there is no folder missing"),
        ("./missing/model", r"there is no folder \./missing/model"),
        (Path("missing/model"), "there is no folder missing/model"),
        ("empty", "must hold a model in Hugging Face's layout, but has no config.json"),
        ("file.pt", r"but file\.pt is a file; name the folder"),
        ("weightless", r"must hold weights as model\.safetensors or pytorch_model\.bin, but has neither"),
        ("foreign", "must name one of the families .* but says 'whisper'"),
    ],
)
def test_what_is_no_model_is_refused(
    source: str | Path, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file.pt").write_bytes(b"")
    (write(Path("weightless")) / "model.safetensors").unlink()
    write(Path("foreign"), config={"model_type": "whisper"})
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(source)


def test_the_built_in_model_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "files", lambda _: tmp_path)
    with pytest.raises(CheckpointError, match="install sonant again"):
        open_checkpoint()
    (tmp_path / "builtin").mkdir()
    write(tmp_path / "builtin" / "digits", vocab=PLAIN)
    assert open_checkpoint().name == "built-in"


# Weights


def checkpoint_with(tensors: Mapping[str, np.ndarray]) -> Checkpoint:
    return Checkpoint("tiny", CONFIG, dict(tensors), VOCABULARY)


def test_a_weight_is_found_with_and_without_the_family_before_its_name() -> None:
    checkpoint = checkpoint_with({"wav2vec2.a": np.zeros(2, np.float32), **head(4)})
    assert checkpoint.weight("a", (2,)).shape == (2,)
    assert checkpoint.weight("wav2vec2.a", (2,)).shape == (2,)
    assert checkpoint.weight("lm_head.bias", (4,)).shape == (4,)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("encoder.layers.0.missing", r"tiny must have a tensor encoder.layers.0.missing of shape \(2,\), but has none"),
        ("wide", r"wide of the checkpoint tiny must have the shape \(2,\), but has \(3,\)"),
        ("nan", "nan of the checkpoint tiny must be finite"),
        ("infinite", "infinite of the checkpoint tiny must be finite"),
        ("cancelling", "cancelling of the checkpoint tiny must be finite"),
    ],
)
def test_a_weight_that_no_model_can_use_is_refused_by_name(name: str, sentence: str) -> None:
    bad = {"wide": [1, 2, 3], "nan": [1, np.nan], "infinite": [np.inf, 1], "cancelling": [np.inf, -np.inf]}
    checkpoint = checkpoint_with({f"wav2vec2.{name}": np.array(value, np.float32) for name, value in bad.items()})
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.weight(name, (2,))


def test_large_finite_weights_pass() -> None:
    large = np.full(4, 3e38, np.float32)  # their sum overflows
    np.testing.assert_array_equal(checkpoint_with({"wav2vec2.a": large}).weight("a", (4,)), large)


def test_a_float64_beyond_float32_is_refused_as_infinite(tmp_path: Path) -> None:
    write(tmp_path, vocab=PLAIN)
    save_file({**head(4), "a": np.array([1e300])}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="must be finite"):
        open_checkpoint(tmp_path).weight("a", (1,))


def test_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", CONFIG, head(4), VOCABULARY)
    array = open_checkpoint(tmp_path / "model").tensors["lm_head.weight"]
    assert not array.flags.owndata
    assert not array.flags.writeable
    assert array.flags.aligned


def test_bfloat16_rounds_as_pytorch_does() -> None:
    edges = [0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 3.3e38, 1e-40]
    values = np.concatenate([edges, np.random.default_rng(0).standard_normal(1000)]).astype(np.float32)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(widen(narrow(values)), expected)


def safetensors(header: object, data: bytes = bytes(16), length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: object = "F32", shape: object = (4,), offsets: object = (0, 16)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"123",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        safetensors({"a": entry()}, length=2**63),
        safetensors({"a": entry()}, length=2**64 - 1),
        safetensors({"a": entry()}, length=0),
        safetensors({"a": entry()}, data=bytes(15)),
        safetensors({"a": entry()}, data=bytes(17)),
        safetensors({"a": entry(), "b": entry()}),
        safetensors({"a": entry(shape=(2,), offsets=(0, 8)), "b": entry(shape=(3,), offsets=(4, 16))}),
        safetensors({"a": entry(offsets=(16, 0))}),
        safetensors({"a": entry(offsets=(-16, 0))}),
        safetensors({"a": entry(offsets=(0,))}),
        safetensors({"a": entry(offsets=(2**63, 2**63 + 16))}),
        safetensors({"a": entry(shape=(5,))}),
        safetensors({"a": entry(shape=(2**62, 4))}),
        safetensors({"a": entry(shape=(-4,))}),
        safetensors({"a": entry(shape=4)}),
        safetensors({"a": entry(shape=(4,) + (1,) * 100)}),
        safetensors({"a": entry(dtype="F31")}),
        safetensors({"a": entry(dtype="F8_E4M3", shape=(16,))}),
        safetensors({"a": entry(dtype=3)}),
        safetensors({"a": 3}),
        safetensors({"a": {}}),
        safetensors([]),
        safetensors(b"{"),
        safetensors(b"[" * 100_000),
        safetensors(b"\xff\xff"),
    ],
)
def test_a_hostile_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(safetensors({"a": entry()}))
    assert open_checkpoint(tmp_path).tensors["a"].shape == (4,)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*\.$"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"a": "../other/model.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "config.json"}},
        {"weight_map": {"a": 3}},
        {"weight_map": {"a": "missing.safetensors"}},
        {"weight_map": {}},
        {"weight_map": []},
        {},
    ],
)
def test_a_hostile_index_is_refused(index: dict[str, object], tmp_path: Path) -> None:
    write(tmp_path / "other")
    folder = write(tmp_path / "model", **{"model.safetensors.index": index})
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"\.$"):
        open_checkpoint(folder)


def test_a_damaged_folder_is_read_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_checkpoint(
        folder, CONFIG, {**head(4), "wav2vec2.a": np.ones((2, 3))}, VOCABULARY, dtype="float16", language="en"
    )
    generator, refused = random.Random(0), 0
    files = {path: path.read_bytes() for path in folder.iterdir()}
    for i in range(300):
        path = sorted(files)[i % len(files)]
        damaged = bytearray(files[path])
        for _ in range(generator.choice([1, 2, 8])):
            place = generator.randrange(len(damaged))
            damaged[place : place + generator.randrange(3)] = generator.randbytes(generator.randrange(3))
        path.write_bytes(damaged)
        try:
            checkpoint = open_checkpoint(folder)
            for name in checkpoint.tensors:
                checkpoint.tensors[name].sum(dtype=np.float64)
        except CheckpointError:
            refused += 1
        path.write_bytes(files[path])
    assert 100 < refused < 300


# Saving


def test_what_is_saved_opens_the_same(tmp_path: Path) -> None:
    vocabulary = Vocabulary(
        ("<s>", "_", "x", "é", "?", "<pad>"), blank=5, separator=1, unknown=4, silent=frozenset({0, 3})
    )
    config = EncoderConfig(**{**CONFIG.__dict__, "vocab_size": 6, "conv_dim": (2,) * 6 + (4,), "num_hidden_layers": 1})
    weights = {**head(6), "wav2vec2.count": np.array(3)}
    save_checkpoint(
        tmp_path / "new" / "model",
        config,
        weights,
        vocabulary,
        sample_rate=8000,
        normalize=False,
        note="Hm.",
        language="eo",
    )
    checkpoint = open_checkpoint(tmp_path / "new" / "model")
    assert checkpoint.config == config
    assert checkpoint.vocabulary == vocabulary
    assert (checkpoint.sample_rate, checkpoint.normalize) == (8000, False)
    assert (checkpoint.note, checkpoint.language) == ("Hm.", "eo")
    assert set(checkpoint.tensors) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], array)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new" / "model").iterdir()}
    assert len(modes) == 1


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        weights = head(4) if name == "a" else dict(reversed(head(4).items()))
        save_checkpoint(tmp_path / name, CONFIG, weights, VOCABULARY)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(np.nan, "float32"), (np.nan, "bfloat16"), (np.inf, "float16"), (1e6, "float16"), (3.4e38, "bfloat16")],
)
def test_a_failed_save_leaves_nothing(value: float, dtype: str, tmp_path: Path) -> None:
    weights = {**head(4), "lm_head.bias": np.full(4, value)}
    with pytest.raises(CheckpointError, match=rf"lm_head\.bias must be finite to be saved as {dtype}"):
        save_checkpoint(tmp_path / "model", CONFIG, weights, VOCABULARY, dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_saving_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save_checkpoint(tmp_path / "empty", CONFIG, head(4), VOCABULARY)
    with pytest.raises(OutputError, match="must be a new or an empty folder, but something is there"):
        save_checkpoint(tmp_path / "empty", CONFIG, head(4), VOCABULARY)
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/model"):
        with pytest.raises(OutputError):
            save_checkpoint(tmp_path / place, CONFIG, head(4), VOCABULARY)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_vocabulary_that_does_not_fit_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="The model has 4 outputs but the vocabulary lists 2 tokens"):
        save_checkpoint(tmp_path / "model", CONFIG, head(4), Vocabulary(("<pad>", "a"), blank=0))
    with pytest.raises(VocabularyError, match="'a' is there twice"):
        save_checkpoint(tmp_path / "model", CONFIG, head(4), Vocabulary(("<pad>", "a", "b", "a"), blank=0))
