"""Training on recorded speech: from no weights to spoken digits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.data
@pytest.mark.slow
def test_strings_of_digits_are_learnt_from_nothing(
    speech_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from train_fsdd import measure

    found = measure(speech_data / "fsdd", tmp_path, settings=("schedule.steps=2000",))
    assert found["strings_wer"] < 0.05
    sys.modules.pop("train_fsdd")
