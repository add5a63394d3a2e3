from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonant.data.manifest import Utterance
from sonant.data.split import Size, split_manifest
from sonant.errors import DataError, OptionError


def corpus(speakers: int, seed: int = 0, most: int = 20) -> list[Utterance]:
    random_ = random.Random(seed)
    return [
        Utterance(f"{s}-{i}.wav", random_.uniform(1, 9), speaker=f"s{s}")
        for s in range(speakers)
        for i in range(random_.randint(1, most))
    ]


def seconds(utterances: list[Utterance]) -> float:
    return sum(u.duration or 0 for u in utterances)


@settings(max_examples=30, deadline=None)
@given(st.integers(30, 60), st.integers(0, 1000), st.floats(0.05, 0.3))
def test_parts_have_their_size_and_no_common_speaker(speakers: int, seed: int, share: float) -> None:
    utterances = corpus(speakers, seed)
    parts = split_manifest(utterances, {"dev": Size(share=share), "test": Size(seconds=120.0)}, seed=seed)
    assert list(parts) == ["train", "dev", "test"]
    voices = [{u.speaker for u in part} for part in parts.values()]
    assert len(set.union(*voices)) == sum(map(len, voices)) == len({u.speaker for u in utterances})
    assert sorted((u for part in parts.values() for u in part), key=utterances.index) == utterances
    assert all(part == sorted(part, key=utterances.index) for part in parts.values())
    assert 0 < seconds(parts["dev"]) <= 1.1 * share * seconds(utterances)
    assert 0 < seconds(parts["test"]) <= 132.0


def test_sizes_are_met_where_speakers_are_small() -> None:
    utterances = corpus(400, most=3)
    parts = split_manifest(utterances, {"dev": Size(share=0.1)})
    assert seconds(parts["dev"]) == pytest.approx(0.1 * seconds(utterances), rel=0.1)


def test_a_seed_gives_one_split_whatever_the_order() -> None:
    utterances = corpus(40)
    parts = {"dev": Size(share=0.2)}
    first = {u.audio for u in split_manifest(utterances, parts, seed=3)["dev"]}
    assert first == {u.audio for u in split_manifest(utterances[::-1], parts, seed=3)["dev"]}
    assert first != {u.audio for u in split_manifest(utterances, parts, seed=4)["dev"]}


def test_files_stand_for_speakers_where_nobody_is_named() -> None:
    parts_of_files = [Utterance(f"{i // 5}.wav", 2.0, offset=2.0 * (i % 5)) for i in range(100)]
    parts = split_manifest(parts_of_files, {"dev": Size(share=0.25)})
    assert len(parts["dev"]) == 25
    assert not {u.audio for u in parts["dev"]} & {u.audio for u in parts["train"]}


@pytest.mark.parametrize(
    ("speakers", "sizes", "part"),
    [
        (2, {"dev": Size(share=0.3), "test": Size(share=0.3)}, "there are 2 speakers"),
        (5, {"dev": Size(share=0.0001)}, "The part dev"),  # smaller than any speaker
        (5, {"dev": Size(seconds=1e6)}, "The part dev"),  # all of them
    ],
)
def test_too_few_speakers_are_refused(speakers: int, sizes: dict[str, Size], part: str) -> None:
    with pytest.raises(DataError, match=part):
        split_manifest(corpus(speakers), sizes)


def test_a_duration_is_needed() -> None:
    with pytest.raises(DataError, match=r"a\.wav does not"):
        split_manifest([Utterance("a.wav"), Utterance("b.wav", 1.0)], {"dev": Size(share=0.5)})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.1", Size(share=0.1)), ("25%", Size(share=0.25)), ("2h", Size(seconds=7200)), ("1.5m", Size(seconds=90)),
        ("10s", Size(seconds=10)),
    ],
)  # fmt: skip
def test_sizes_are_shares_or_times(text: str, size: Size) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["", "1", "2", "0", "-0.1", "150%", "nan", "h", "infs", "ten"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="a share such as"):
        Size.parse(text)
