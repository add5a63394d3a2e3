"""How far a job is, as Prometheus reads it."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from sonant.errors import OptionError
from sonant.jobs.progress import Tally, metrics_text, open_metrics


def tally() -> Tally:
    return Tally(
        inputs=100, kept=20, done=30, failed=10, seconds=500.0, began=time.monotonic() - 50, nodes={'a"b': 300, "": 200}
    )


def values(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_the_rest_takes_as_long_as_what_was_done() -> None:
    assert tally().left == pytest.approx(50, abs=1)  # 40 of 80 in 50 s
    assert tally().speed == pytest.approx(10, abs=0.2)
    assert Tally(inputs=3).left is None


def test_every_number_has_its_type_and_its_meaning() -> None:
    text = metrics_text(tally())
    found = values(text)
    assert found["sonant_batch_inputs"] == 100
    assert found["sonant_batch_done_total"] == 30
    assert found["sonant_batch_failed_total"] == 10
    assert found["sonant_batch_left_seconds"] == pytest.approx(50, abs=1)
    assert found['sonant_batch_audio_seconds_total{node="a\\"b"}'] == 300
    for name in {name.partition("{")[0] for name in found}:
        assert text.count(f"# TYPE {name} ") == text.count(f"# HELP {name} ") == 1


def test_a_port_shows_the_last_numbers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open_metrics(str(port)) as show:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            assert values(page.read().decode())["sonant_batch_inputs"] == 0
        show(tally())
        with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            assert values(page.read().decode())["sonant_batch_inputs"] == 100
        with pytest.raises(OptionError, match=f"must be a free port or a file, but 127.0.0.1:{port} is not"):
            open_metrics(f"127.0.0.1:{port}").__enter__()


def test_a_file_holds_the_last_numbers(tmp_path: Path) -> None:
    with open_metrics(str(tmp_path / "metrics")) as show:
        show(Tally(inputs=1))
        assert values((tmp_path / "metrics").read_text())["sonant_batch_inputs"] == 1
        show(tally())  # soon after: not at once, but at the end
    assert values((tmp_path / "metrics").read_text())["sonant_batch_inputs"] == 100
    with open_metrics(None) as show:
        show(tally())
