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
