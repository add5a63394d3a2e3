"""Model cards: what a model is for, and nothing of where it was made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sonant.train.card import model_card
from sonant.train.recipe import read_recipe


@pytest.mark.parametrize(
    ("name", "tag", "use"),
    [
        ("ctc-1h", "automatic-speech-recognition", "transcribe("),
        ("pretrain-small", "feature-extraction", "sonant train ctc-1h"),
        ("hubert-small", "feature-extraction", "sonant train ctc-1h"),
    ],
)
def test_a_card_says_what_the_model_is_for(name: str, tag: str, use: str) -> None:
    card = model_card(read_recipe(name, ["data.language=cy"]), {"dev_loss": 1.25}, 700)
    assert f"pipeline_tag: {tag}\nlanguage: cy\n" in card
    assert use in card
    assert "for 700 steps" in card
    assert "| dev_loss | 1.25 |" in card


def test_a_card_names_no_folder_of_the_trainer() -> None:
    home = ["data.train=/data/ana/corpus/train.jsonl", "data.dev=/data/ana/corpus/dev.jsonl"]
    more = ["model.start=/data/ana/runs/listener/model", "augment.noise_files=/data/ana/noise.jsonl"]
    card = model_card(read_recipe("ctc-1h", home + more), {}, 1)
    assert "/data" not in card
    assert "from `listener/model` on train.jsonl" in card
    assert 'noise_files = ["noise.jsonl"]' in card
    published = replace(read_recipe("ctc-1h"), data=replace(read_recipe("ctc-1h").data, train=("a.jsonl",)))
    assert "from `facebook/wav2vec2-base` on a.jsonl" in model_card(published, {}, 1)
    assert "on the development set" not in model_card(published, {}, 1)
