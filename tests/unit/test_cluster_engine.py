"""What becomes of windows when replicas answer, fail, die or keep silent; no cluster is started."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sonant.errors import AudioError, EngineError, OptionError

ray = pytest.importorskip("ray", reason="Ray has no wheel for this Python")
from ray.exceptions import ActorDiedError, RayTaskError  # noqa: E402

from sonant.cluster import serving  # noqa: E402
from sonant.server.service import BusyError  # noqa: E402


class Handle:
    """Answers with what it was told, one after the other; errors are raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = [("openvino", "cpu", "fp32"), *answers]
        self.emit = self.about = self

    def remote(self, *arguments: Any) -> Handle:
        return self

    def result(self, timeout_s: float) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PAUSE", 0.0)


def test_windows_are_heard_again_where_a_replica_dies() -> None:
    emitted = [np.zeros((2, 3), np.float32)]
    engine = serving.ClusterEngine(Handle(ActorDiedError(), ActorDiedError(), emitted))
    assert engine.emit([np.zeros(400, np.float32)]) is emitted
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "fp32")


def test_a_window_that_kills_is_given_up() -> None:
    engine = serving.ClusterEngine(Handle(*[ActorDiedError()] * serving.DEATHS))
    with pytest.raises(EngineError, match="died of it"):
        engine.emit([np.zeros(400, np.float32)])


def test_silence_of_all_replicas_says_to_come_back() -> None:
    with pytest.raises(BusyError, match="No replica") as caught:
        serving.ClusterEngine(Handle(TimeoutError())).emit([np.zeros(400, np.float32)])
    assert caught.value.retry_after == 30


def test_an_error_of_the_engine_arrives_as_its_sentence() -> None:
    failure = RayTaskError("emit", "a long traceback", AudioError("One sentence."))
    with pytest.raises(AudioError, match=r"^One sentence\.$"):
        serving.ClusterEngine(Handle(failure.as_instanceof_cause())).emit([np.zeros(400, np.float32)])


def test_numbers_of_replicas() -> None:
    assert serving.Replicas.parse("3") == serving.Replicas(3, 3)
    assert serving.Replicas.parse("1-8") == serving.Replicas(1, 8)
    for wrong in ("", "0", "3-2", "0-2", "two", "-1", "1-", "1-2-3"):
        with pytest.raises(OptionError, match="--replicas"):
            serving.Replicas.parse(wrong)
