"""Every fault is planted among clean utterances and found, alone; clean ones give none."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sonant.data.check import KINDS, Report, check_manifest
from sonant.data.manifest import Utterance, read_manifest, read_utterance, write_manifest
from sonant.data.sound import spectral_flatness
from sonant.types import Vocabulary
from unit.media import wav, wav_of, write_media

LETTERS = Vocabulary(("<pad>", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 0, 1)
WORDS = ["so", "the", "wind", "blew", "on", "over", "hills", "and", "under", "doors", "all", "night", "long"]


def voice(seconds: float, seed: int, rate: int = 16_000) -> np.ndarray:
    """Harmonics under a slow envelope over a little noise, int16: with a spectrum as uneven as speech's."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = random.uniform(90, 220)
    tone = sum(np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6)) / k**1.5 for k in range(1, 12))
    wave = 0.2 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)) + 0.002 * random.standard_normal(len(time))
    return (np.clip(wave, -0.99, 0.99) * 32_767).astype(np.int16)


def corpus(folder: Path, count: int = 24, first: int = 0, speakers: str = "abcd") -> list[Utterance]:
    """Clean utterances of different voices, lengths and texts."""
    folder.mkdir(exist_ok=True)
    found: list[Utterance] = []
    for i in range(first, first + count):
        seconds = 1.0 + 0.07 * (i % 9)
        path = folder / f"{i:03}.wav"
        path.write_bytes(wav_of(voice(seconds, i)))
        text = " ".join(WORDS[(i + k) % len(WORDS)] for k in range(round(3 * seconds)))
        found.append(Utterance(str(path), round(seconds, 2), text + f", {WORDS[i % 12]}.", speaker=speakers[i % 4]))
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return corpus(tmp_path_factory.mktemp("clean"))


def kinds(report: Report, index: int) -> set[str]:
    assert all(fault.index == index for fault in report.faults), report.to_text()
    return {fault.kind for fault in report.faults}


def test_a_clean_corpus_has_no_fault(clean: list[Utterance], tmp_path: Path) -> None:
    other = corpus(tmp_path, 6, first=40, speakers="wxyz")
    done: list[tuple[float, float | None]] = []
    report = check_manifest(clean, against=other, vocabulary=LETTERS, threads=2, progress=lambda *now: done.append(now))
    assert report.faults == []
    assert (report.clean, report.fatal) == (True, None)
    assert list(report.cleaned()) == clean
    assert report.seconds == [u.duration for u in clean]
    assert done[-1][0] == pytest.approx(sum(u.duration or 0 for u in clean + other))
    assert report.to_text() == "24 utterances, 0.01 hours\nNo fault was found.\n"


SWAPPED = voice(1.5, 101).byteswap()
PLANTED = {
    "text for audio": (b"four score and seven years ago " * 99, {}, {"unreadable"}),
    "empty file": (b"", {}, {"unreadable"}),
    "no such file": (None, {}, {"unreadable"}),
    "cut short": (wav(voice(1.2, 102).tobytes(), declared=100_000), {"duration": 1.2}, {"damaged"}),
    "longer than declared": (wav_of(voice(1.4, 103)), {"duration": 1.2}, {"duration"}),
    "shorter than declared": (wav_of(voice(1.2, 104)), {"duration": 1.4}, {"duration"}),
    "another rate": (wav_of(voice(1.2, 105)), {"extra": {"sample_rate": 22_050}}, {"rate"}),
    "of the telephone": (wav_of(voice(1.2, 106, 8_000), 8_000), {"duration": 1.2}, {"narrow"}),
    "silence": (wav_of(np.zeros(19_200, np.int16)), {"duration": 1.2}, {"silent"}),
    "a dead channel": (wav_of(np.full(19_200, 900, np.int16)), {"duration": 1.2}, {"silent"}),
    "too loud": (wav_of(np.clip(voice(1.2, 107) * 9.0, -32_768, 32_767).astype(np.int16)), {}, {"clipped"}),
    "swapped bytes": (wav_of(SWAPPED), {"duration": 1.5}, {"noise"}),
    "white noise": (wav_of(np.random.default_rng(0).normal(0, 3e3, 19_200).astype(np.int16)), {}, {"noise"}),
    "text of blanks": (wav_of(voice(1.2, 108)), {"text": " \n"}, {"no text"}),
    "no text": (wav_of(voice(1.2, 109)), {"text": None}, {"no text"}),
    "marks alone": (wav_of(voice(1.2, 110)), {"text": "...!"}, {"no text"}),
    "letters of another script": (wav_of(voice(1.2, 111)), {"text": "so the ветер"}, {"letters"}),
    "a digit": (wav_of(voice(1.2, 112)), {"text": "so the 4 winds"}, {"letters"}),
    "a short clip": (wav_of(voice(0.2, 113)), {"text": "so all the wind", "duration": 0.2}, {"frames", "pace"}),
    "a wrong text": (wav_of(voice(1.2, 114)), {"text": " ".join(WORDS * 9), "duration": 1.2}, {"frames", "pace"}),
    "a text that lacks words": (wav_of(voice(1.6, 115)), {"text": "a", "duration": 1.6}, {"pace"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(clean: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Clean utterances, then one for each fault."""
    folder = tmp_path_factory.mktemp("planted")
    bad: list[Utterance] = []
    for i, (data, fields, _) in enumerate(PLANTED.values()):
        path = folder / f"{i}.wav"
        if data is not None:
            path.write_bytes(data)
        bad.append(replace(Utterance(str(path), 1.2, "the wind blew on and on", speaker="a"), **fields))
    return check_manifest([*clean, *bad], vocabulary=LETTERS, threads=2)


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_fault_is_found_alone(planted: Report, case: str) -> None:
    index, expected = 24 + list(PLANTED).index(case), PLANTED[case][2]
    assert {fault.kind for fault in planted.faults if fault.index == index} == expected, planted.to_text()
    stays = not any(KINDS[kind].drops for kind in expected)
    name = planted.utterances[index].audio
    assert (name in [u.audio for u in planted.cleaned()]) == stays
    assert all(f"{planted.counts[kind]} with {KINDS[kind].title}" in planted.to_text() for kind in expected)


def test_clean_utterances_stay_clean_among_faults(planted: Report, clean: list[Utterance]) -> None:
    assert {fault.index for fault in planted.faults} == set(range(24, 24 + len(PLANTED)))
    assert list(planted.cleaned())[:24] == clean


def test_repeated_letters_need_a_frame_between(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(voice(0.2, 5)))  # nine frames
    fits, not_quite = "abcdefghi", "abcdeffgh"
    texts = [Utterance(str(tmp_path / "a.wav"), 0.2, text) for text in (fits, not_quite)]
    assert check_manifest(texts[:1], vocabulary=LETTERS).faults == []
    [fault] = check_manifest(texts[1:], vocabulary=LETTERS).faults
    assert (fault.kind, fault.detail) == ("frames", "its text needs 10 frames, its audio has 9")
    assert [f.kind for f in check_manifest(texts[1:]).faults] == ["frames"]  # also before there is a vocabulary


def test_unlabelled_speech_has_no_text_faults(clean: list[Utterance]) -> None:
    unlabelled = [replace(u, text=None) for u in clean]
    assert check_manifest(unlabelled[:5]).faults == []
    assert check_manifest(unlabelled[:5], labelled=True).counts == {"no text": 5}
    unspelled = [replace(u, text="...") for u in clean[:5]]
    assert check_manifest(unspelled, vocabulary=LETTERS, labelled=False).faults == []


def test_the_same_samples_are_twins_whatever_the_file(clean: list[Utterance], tmp_path: Path) -> None:
    samples = voice(1.0, 0) / np.float32(32_768)
    flac = write_media(tmp_path / "twin.flac", samples, codec="flac")
    twin = replace(clean[0], audio=str(flac), text="another text here")
    report = check_manifest([*clean[:3], twin])
    assert kinds(report, 3) == {"twin"}
    assert report.faults[0].detail == f"the same as {clean[0].audio}, whose text differs"


def test_what_train_and_test_share_is_found(clean: list[Utterance], tmp_path: Path) -> None:
    fresh = corpus(tmp_path, 3, first=70, speakers="wxyz")
    (tmp_path / "copy.wav").write_bytes(Path(clean[5].audio).read_bytes())
    test = [
        replace(fresh[0], audio=str(tmp_path / "copy.wav"), duration=clean[5].duration),
        replace(fresh[1], text=(clean[6].text or "").upper()),
    ]
    report = check_manifest(clean, against=test)
    assert [(f.kind, f.index) for f in report.faults] == [("leaked audio", 5), ("leaked text", 6)]
    assert report.fatal == (
        "This would spoil a training: 1 of 24 utterances have audio that is in the other manifest, too; "
        "mend the data, or leave them out."
    )
    assert len(list(report.cleaned())) == 23
    by_speaker = check_manifest(clean[:8], against=[replace(fresh[2], speaker="b")])
    assert by_speaker.counts == {"leaked speaker": 2}
    assert by_speaker.fatal is None
    assert not by_speaker.clean


def test_a_corpus_of_noise_stops_a_training(clean: list[Utterance], tmp_path: Path) -> None:
    spoiled: list[Utterance] = []
    for i, utterance in enumerate(clean[:6]):
        path = tmp_path / f"{i}.wav"
        path.write_bytes(wav_of(voice(utterance.duration or 0, i).byteswap()))
        spoiled.append(replace(utterance, audio=str(path)))
    report = check_manifest(spoiled)
    assert report.counts["noise"] == 6
    assert "6 of 6 utterances have noise in the place of speech" in (report.fatal or "")
    assert check_manifest([]).fatal is not None


def test_a_case_that_the_vocabulary_lacks_is_no_fault_but_a_script_is(clean: list[Utterance]) -> None:
    lower = Vocabulary(tuple(token.lower() for token in LETTERS.tokens), 0, 1)
    assert check_manifest([replace(u, text=(u.text or "").upper()) for u in clean[:4]], vocabulary=lower).faults == []
    greek = Vocabulary(("<pad>", "|", *"αβγδε"), 0, 1)
    report = check_manifest(clean[:4], vocabulary=greek)
    assert report.counts == {"letters": 4}
    assert "4 of 4 utterances have letters outside the vocabulary" in (report.fatal or "")


def test_wrong_durations_are_mended(clean: list[Utterance], tmp_path: Path) -> None:
    wrong = [replace(clean[0], duration=9.0), replace(clean[1], duration=None), *clean[2:5]]
    report = check_manifest(wrong)
    assert [f.kind for f in report.faults] == ["duration"]
    write_manifest(tmp_path / "clean.jsonl", report.cleaned())
    assert list(read_manifest(tmp_path / "clean.jsonl")) == clean[:5]


def test_parts_of_long_files_are_checked_as_parts(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav_of(np.concatenate([voice(2.0, 1), np.zeros(32_000, np.int16)])))
    parts = [Utterance(str(path), 1.5, offset=at) for at in (0.25, 2.25, 3.0, 5.0)]
    found = [(f.kind, f.index) for f in check_manifest(parts).faults]
    assert found == [("unreadable", 3), ("duration", 2), ("silent", 1), ("silent", 2)]


def test_reports_are_read_by_programs(clean: list[Utterance], tmp_path: Path) -> None:
    report = check_manifest([*clean[:4], *(Utterance(str(tmp_path / f"gone{i}.wav"), 1.0, "x") for i in range(7))])
    values = json.loads(report.to_json())
    assert values["counts"] == {"unreadable": 7}
    assert (values["clean"], values["utterances"], values["fatal"]) == (False, 11, report.fatal)
    assert [fault["line"] for fault in values["faults"]] == list(range(5, 12))
    assert "    and 2 more\n" in report.to_text()


@pytest.mark.parametrize("seconds", [0.005, 0.5])
def test_flatness_is_one_for_noise_and_nought_for_tones_and_silence(seconds: float) -> None:
    count = round(16_000 * seconds)
    noise = np.random.default_rng(3).standard_normal(count).astype(np.float32)
    assert spectral_flatness(np.zeros(count, np.float32)) == 0.0
    assert spectral_flatness(np.sin(np.arange(count) * 0.3).astype(np.float32)) < 0.2
    if seconds > 0.1:
        assert spectral_flatness(noise) > 0.9
        assert spectral_flatness(np.repeat(noise, 2)) < spectral_flatness(noise)


def test_what_was_measured_is_remembered_until_its_file_changes(
    clean: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "new" / "sounds.db"
    mine = tmp_path / "mine.wav"
    mine.write_bytes(Path(clean[4].audio).read_bytes())
    parts = [replace(clean[4], audio=str(mine), offset=at, duration=0.25, text="a") for at in (0.0, 0.5)]
    utterances = [*clean[:4], *parts]
    first = check_manifest(utterances, memory=place)
    with monkeypatch.context() as patch:
        patch.setattr("sonant.data.memory.examine", lambda *_: pytest.fail("was measured again"))
        assert check_manifest(utterances, memory=place) == first
    mine.write_bytes(wav_of(np.zeros(16_000, np.int16)))
    assert check_manifest(utterances, memory=place).counts == {"silent": 2}
    mine.unlink()
    assert check_manifest(utterances, memory=place).counts == {"unreadable": 2}


@pytest.mark.parametrize("kind", ["text", "folder", "of another kind"])
def test_a_memory_that_cannot_be_used_is_done_without(clean: list[Utterance], tmp_path: Path, kind: str) -> None:
    place = tmp_path / "sounds.db"
    if kind == "text":
        place.write_text("no database at all " * 99)
    elif kind == "folder":
        place.mkdir()
    else:
        with closing(sqlite3.connect(place)) as base:
            base.execute("CREATE TABLE sounds (other TEXT)")
    assert check_manifest(clean[:3], memory=place).faults == []


@pytest.mark.data
@pytest.mark.parametrize("name", ["fsdd", "librispeech-dev", "emodb"])
def test_recorded_speech_has_no_fault_until_its_bytes_are_swapped(speech_data: Path, tmp_path: Path, name: str) -> None:
    utterances = list(read_manifest(speech_data / name / "manifest.jsonl"))[::23]
    assert check_manifest(utterances).faults == []
    spoiled: list[Utterance] = []
    for i, utterance in enumerate(utterances[:40]):
        samples = np.round(np.clip(read_utterance(utterance), -1, 1) * 32_767).astype(np.int16)
        (tmp_path / f"{i}.wav").write_bytes(wav_of(samples.byteswap()))
        spoiled.append(replace(utterance, audio=str(tmp_path / f"{i}.wav")))
    report = check_manifest(spoiled)
    assert report.counts["noise"] > 0.9 * len(spoiled)
    assert "noise in the place of speech" in (report.fatal or "")
