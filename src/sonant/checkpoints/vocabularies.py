"""Hugging Face's token files (`vocab.json`, `tokenizer_config.json` and their older kin) from and to a `Vocabulary`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sonant.errors import CheckpointError, VocabularyError
from sonant.types import Vocabulary

TOKEN_FILES = ("vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_ROLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
"""What transformers takes where nothing is said, in the order in which it adds those that `vocab.json` lacks."""
_MAX_JSON_BYTES = 64 << 20


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object; empty where there is no such file."""
    try:
        if not path.exists():
            return {}
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}); check its rights.") from error
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path} must be JSON, but is not; fetch it again.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, but holds {type(value).__name__}; fetch it again.")
    return cast("dict[str, Any]", value)


def read_languages(folder: Path) -> tuple[str, ...]:
    """The languages that a folder's `vocab.json` has tokens for, where it nests one vocabulary a language (MMS)."""
    values = read_json(folder / "vocab.json")
    return tuple(values) if all(isinstance(value, dict) for value in values.values()) else ()


def read_vocabulary(folder: Path, outputs: int, language: str | None = None) -> tuple[Vocabulary, str | None]:
    """The tokens of a model with so many outputs, and its language where the vocabulary is one of several.

    `language` chooses among several in place of what the tokenizer names. Raises `VocabularyError` for tokens that do
    not fit the outputs, are not numbered 0, 1, 2, ..., or lack a blank.
    """
    path = folder / "vocab.json"
    if not path.exists():
        raise VocabularyError(
            f"A model with {outputs} outputs must come with a vocab.json, but {folder} has none; "
            "copy it from where the model was trained."
        )
    settings = read_json(folder / "tokenizer_config.json")
    roles: dict[str, Any] = {**_ROLES, **settings}
    if "added_tokens_decoder" not in settings:  # transformers lets the older file speak only then
        roles |= read_json(folder / "special_tokens_map.json")
    names = {role: _text(roles[role]) for role in _ROLES}
    listed, language = _of_one_language(path, read_json(path), language or settings.get("target_lang"))
    index = _indices(path, listed)
    added = _added_tokens(folder, settings)
    taken = set(index.values())
    for token, (i, _) in added.items():
        if token not in index and i not in taken and i < outputs:
            index[token] = i
            taken.add(i)
    for token in names.values():  # transformers numbers these on from the last token, trained or not
        if token is not None and token not in index and len(index) < outputs:
            index[token] = len(index)
    if len(index) != outputs:
        raise VocabularyError(
            f"The model has {outputs} outputs but {path} lists {len(listed)} tokens; "
            "pass the vocabulary it was trained with."
        )
    missing = sorted(set(range(outputs)) - set(index.values()))
    if missing:
        raise VocabularyError(
            f"{path} must number its tokens 0 to {outputs - 1}, but no token has the index {missing[0]}; "
            "pass the vocabulary the model was trained with."
        )
    special = {token for token, (_, is_special) in added.items() if is_special}
    return _vocabulary(path, index, roles, names, special), language


def _vocabulary(
    path: Path, index: Mapping[str, int], roles: Mapping[str, Any], names: Mapping[str, str | None], special: set[str]
) -> Vocabulary:
    """Put tokens that are numbered without a gap in order, and find out who does what."""
    blank, unknown = names["pad_token"], names["unk_token"]
    if blank is None or blank not in index:
        raise VocabularyError(
            f"{path} must list the pad token, which is CTC's blank, but has no {blank or 'pad token'!r}; "
            "name the right one as pad_token in tokenizer_config.json."
        )
    phonemes = "Phoneme" in str(roles.get("tokenizer_class"))
    separator = _text(roles.get("word_delimiter_token", None if phonemes else "|"))
    silent = (special | {names["bos_token"] or "", names["eos_token"] or "", blank}) - {unknown, separator}
    if separator is not None and roles.get("replace_word_delimiter_char") == "":  # a script without spaces
        silent, separator = silent | {separator}, None
    tokens = sorted(index, key=lambda token: index[token])
    marked = special | {token for token in names.values() if token is not None}
    if roles.get("do_lower_case") is True:  # the tokens are capitals, what is written is not
        tokens = [token if token in marked else token.lower() for token in tokens]
    return Vocabulary(
        tokens=tuple(tokens),
        blank=index[blank],
        separator=None if separator is None else index.get(separator),
        unknown=None if unknown is None else index.get(unknown),
        silent=frozenset(index[token] for token in silent if token in index),
    )


def _of_one_language(path: Path, values: dict[str, Any], target: object) -> tuple[dict[str, Any], str | None]:
    """MMS nests one vocabulary a language in the file: the one that the tokenizer names, and its name."""
    if not values or not all(isinstance(value, dict) for value in values.values()):
        return values, None
    if target is None and len(values) == 1:
        target = next(iter(values))
    if not isinstance(target, str) or target not in values:
        raise VocabularyError(
            f"{path} lists the tokens of {len(values)} languages, but tokenizer_config.json names {target!r}; "
            f"set its target_lang to one of them, such as {next(iter(values))}."
        )
    return values[target], target


def _indices(path: Path, values: Mapping[str, Any]) -> dict[str, int]:
    """Tokens to indices, each a count and each there once."""
    owner: dict[int, str] = {}
    for token, i in values.items():
        if type(i) is not int or i < 0:
            raise VocabularyError(f"{path} must give each token an index, but gives {token!r} {i!r}; fetch it again.")
        if not _writable(token):
            raise VocabularyError(f"{path} must hold Unicode texts, but {token!r} is half a character; fetch it again.")
        if i in owner:
            raise VocabularyError(
                f"{path} must give each token its own index, but gives {i} to {owner[i]!r} and to {token!r}; "
                "pass the vocabulary the model was trained with."
            )
        owner[i] = token
    return dict(values)


def _added_tokens(folder: Path, settings: Mapping[str, Any]) -> dict[str, tuple[int, bool]]:
    """Tokens beside those of `vocab.json` (or again): their index and whether they are marks rather than text."""
    added: dict[str, tuple[int, bool]] = {}
    decoder = settings.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        for i, value in cast("dict[str, Any]", decoder).items():
            token = _text(value)
            if token is not None and i.isdecimal() and i.isascii() and len(i) < 10:
                added[token] = int(i), isinstance(value, dict) and cast("dict[str, Any]", value).get("special") is True
        return added
    for token, i in read_json(folder / "added_tokens.json").items():
        if type(i) is int and i >= 0:
            added[token] = i, False
    return added


def _text(token: object) -> str | None:
    """A token as the files write it: a text, or an object with a `content`."""
    if isinstance(token, dict):
        token = cast("dict[str, Any]", token).get("content")
    return token if isinstance(token, str) and _writable(token) else None


def _writable(token: str) -> bool:
    """Whether a text can be printed: JSON may hold halves of characters (lone surrogates), UTF-8 may not."""
    return not any("\ud800" <= c <= "\udfff" for c in token)


def token_files(vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
    """The contents of the files from which transformers and `read_vocabulary` make this vocabulary, by file name."""
    tokens = vocabulary.tokens
    index = {token: i for i, token in enumerate(tokens)}
    if len(index) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if index[token] != i)
        raise VocabularyError(f"Tokens must differ from each other, but {twice!r} is there twice; rename one.")
    marks = {token: index.get(token) in vocabulary.silent for token in ("<s>", "</s>")}
    roles = {
        "bos_token": "<s>" if marks["<s>"] else None,
        "eos_token": "</s>" if marks["</s>"] else None,
        "unk_token": None if vocabulary.unknown is None else tokens[vocabulary.unknown],
        "pad_token": tokens[vocabulary.blank],
    }
    added = {
        str(i): {"content": tokens[i], "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                 "special": True}
        for i in sorted(vocabulary.silent)
    }  # fmt: skip
    config = {
        "added_tokens_decoder": added,
        "do_lower_case": False,
        **roles,
        "replace_word_delimiter_char": " ",
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "word_delimiter_token": None if vocabulary.separator is None else tokens[vocabulary.separator],
    }
    return {
        "vocab.json": dict(index),
        "tokenizer_config.json": config,
        "special_tokens_map.json": {role: token for role, token in roles.items() if token is not None},
    }
