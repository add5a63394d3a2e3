"""Every script of the examples runs on the example recording."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pytest

from flow.conftest import EXAMPLE, SAID

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_runs(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "talk.ogg"
    shutil.copy(EXAMPLE, recording)
    monkeypatch.setattr(sys, "argv", [str(script), str(recording)])
    runpy.run_path(str(script), run_name="__main__")
    out, err = capsys.readouterr()
    assert err == ""
    assert SAID in out + "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert len(script.read_text().splitlines()) <= 40
