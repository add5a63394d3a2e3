"""What a training shows on a terminal: a table of its last lines, which stays one table, and events above it."""

from __future__ import annotations

import io
import re
import sys

import pytest

from sonant.cli.train import ROWS, showing

LINE = {"epoch": 0, "loss": 3.25, "lr": 1e-4, "gradient": 1.5, "padding": 0.05, "hours": 0.25, "minutes_left": 9.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def as_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error as a terminal of 120 columns; inside the test, since pytest replaces it before."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    for name, value in {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return found


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_table_shows_the_last_lines_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = as_terminal(monkeypatch)
    with showing(400) as show:
        for i in range(ROWS + 3):
            show({"step": 20 * (i + 1), **LINE, "speed": 10.0 + i})
        before = len(terminal.getvalue())
        show({"step": 300, "wer": 0.5, "cer": 0.125})
        drawn = terminal.getvalue()[before:]
    shown = plain(drawn)
    assert "\x1b[1A" in drawn  # goes up to where the table begins
    assert "300 of 400 steps" in shown
    heads = next(line for line in shown.splitlines() if "loss" in line)
    assert [head.strip() for head in heads.strip("┃ \r").split("┃")] == [
        "step", "loss", "lr", "gradient", "padding", "hours", "speed", "minutes left", "cer", "wer",
    ]  # fmt: skip
    rows = [[cell.strip() for cell in line.strip("│ \r").split("│")] for line in shown.splitlines() if "│" in line]
    assert len(rows) == ROWS
    assert [row[0] for row in rows] == [str(20 * (i + 1)) for i in range(4, ROWS + 3)] + ["300"]
    assert rows[0][1:8] == ["3.25", "0.0001", "1.5", "0.05", "0.25", "14", "9"]
    assert rows[-1][-2:] == ["0.125", "0.5"]
    assert rows[-1][1] == ""


def test_events_stand_above_the_table_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = as_terminal(monkeypatch)
    with showing(400) as show:
        show({"step": 20, **LINE, "speed": 1.0})
        show({"step": 21, "event": "unreadable", "names": ["[bold]a.wav[/bold] is damaged."]})
        show({"step": 40, **LINE, "speed": 1.0})
    shown = plain(terminal.getvalue())
    assert "step 21, event unreadable" in shown
    assert "[bold]a.wav[/bold] is damaged." in shown
    assert shown.rindex("event unreadable") < shown.rindex("40 of 400 steps")


def test_elsewhere_each_line_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(400) as show:
        show({"step": 20, "loss": 1.23456, "minutes_left": 2.0})
    assert capsys.readouterr().err == "sonant: step 20, loss 1.235, minutes left 2\n"
