"""Turns at shared engines: nobody starves, nobody waits for those who have gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from sonant.engines import Engine
from sonant.errors import EngineError
from sonant.server.batcher import CLIPS_AT_ONCE, LIVE_TURNS, Batcher, LeftError, Ticket

RATE = 100


class SlowEngine:
    """Writes down the first sample of what it is given, and waits for a permit before each call."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.name, self.precision = "slow", "fp32"
        self.calls: list[list[int]] = []
        self.permits = threading.Semaphore(0)

    def emit(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert self.permits.acquire(timeout=20)
        self.calls.append([int(samples[0]) for samples in waveforms])
        if -1 in self.calls[-1]:
            raise EngineError("no")
        return [samples[:, None] for samples in waveforms]


def clip(number: int, seconds: float = 1.0) -> np.ndarray:
    return np.full(round(seconds * RATE), number, np.float32)


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
def batcher(engine: SlowEngine) -> Any:
    batcher = Batcher([cast(Engine, engine)], RATE)
    yield batcher
    engine.permits.release(1000)
    batcher.close()


class Client(threading.Thread):
    """One that wants clips heard, one after the other or all at once."""

    def __init__(self, batcher: Batcher, ticket: Ticket, clips: Sequence[np.ndarray]) -> None:
        super().__init__(daemon=True)
        self.batcher, self.ticket, self.clips = batcher, ticket, clips
        self.heard: list[np.ndarray] = []
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.heard = self.batcher.emit(self.ticket, self.clips)
        except (LeftError, EngineError) as error:
            self.error = error


def wait_until(true: Callable[[], bool]) -> None:
    limit = threading.Event()
    for _ in range(2000):
        if true():
            return
        limit.wait(0.01)
    raise AssertionError("it never came true")


def fill(batcher: Batcher, seconds: float) -> None:
    """Wait until so many seconds are queued: then what is queued first is known."""
    wait_until(lambda: abs(batcher.waiting_seconds - seconds) < 1e-6)


def test_what_is_emitted_belongs_to_its_clip(batcher: Batcher, engine: SlowEngine) -> None:
    engine.permits.release(3)
    heard = batcher.emit(Ticket(), [clip(1), clip(2), clip(3)])
    assert [int(emitted[0, 0]) for emitted in heard] == [1, 2, 3]
    assert batcher.heard_seconds == pytest.approx(3.0)


def test_a_short_file_passes_a_long_one_and_streams_pass_both(batcher: Batcher, engine: SlowEngine) -> None:
    long = Client(batcher, Ticket(), [clip(i, 20) for i in range(10, 16)])
    fill(batcher, 100)  # the engine holds the first
    short = Client(batcher, Ticket(), [clip(20, 2)])
    fill(batcher, 102)
    live = Client(batcher, Ticket(live=True), [clip(30)])
    fill(batcher, 103)
    engine.permits.release(8)
    for client in (long, short, live):
        client.join(20)
    order = [numbers[0] for numbers in engine.calls]
    assert order[:3] == [10, 30, 20]
    assert order[3:] == [11, 12, 13, 14, 15]


def test_streams_do_not_starve_a_file(batcher: Batcher, engine: SlowEngine) -> None:
    first = Client(batcher, Ticket(live=True), [clip(1)])
    wait_until(lambda: batcher.waiting_seconds == 0 and first.is_alive())
    live = Client(batcher, Ticket(live=True), [clip(2) for _ in range(3 * LIVE_TURNS)])
    file = Client(batcher, Ticket(), [clip(9), clip(9)])
    fill(batcher, 3 * LIVE_TURNS + 2)
    engine.permits.release(100)
    for client in (first, live, file):
        client.join(20)
    order = [numbers[0] for numbers in engine.calls]
    turns = [i for i, number in enumerate(order) if number == 9]
    assert len(turns) == 2
    assert turns[0] <= LIVE_TURNS + 1
    assert turns[1] - turns[0] == LIVE_TURNS + 1


def test_two_long_files_share_evenly(batcher: Batcher, engine: SlowEngine) -> None:
    one = Client(batcher, Ticket(), [clip(1, 20) for _ in range(5)])
    fill(batcher, 80)
    two = Client(batcher, Ticket(), [clip(2, 20) for _ in range(4)])
    fill(batcher, 160)
    engine.permits.release(9)
    one.join(20)
    two.join(20)
    order = [numbers[0] for numbers in engine.calls]
    assert all(abs(order[:n].count(1) - order[:n].count(2)) <= 2 for n in range(9))


def test_what_a_client_that_has_gone_wanted_is_not_heard(batcher: Batcher, engine: SlowEngine) -> None:
    ticket = Ticket()
    client = Client(batcher, ticket, [clip(1), clip(2), clip(3)])
    fill(batcher, 2)
    batcher.leave(ticket)
    engine.permits.release(1)
    client.join(20)
    assert isinstance(client.error, LeftError)
    assert engine.calls == [[1]]


def test_an_error_reaches_its_client_alone(batcher: Batcher, engine: SlowEngine) -> None:
    bad = Client(batcher, Ticket(), [clip(-1)])
    good = Client(batcher, Ticket(), [clip(4)])
    engine.permits.release(2)
    bad.join(20)
    good.join(20)
    assert isinstance(bad.error, EngineError)
    assert good.error is None
    assert len(good.heard) == 1


def test_a_gpu_is_given_what_waits_together() -> None:
    engine = SlowEngine("cuda")
    batcher = Batcher([cast(Engine, engine)], RATE)
    first = Client(batcher, Ticket(), [clip(0)])
    wait_until(lambda: first.is_alive() and batcher.waiting_seconds == 0)
    many = [Client(batcher, Ticket(), [clip(1)]) for _ in range(CLIPS_AT_ONCE + 1)]
    fill(batcher, CLIPS_AT_ONCE + 1)
    engine.permits.release(3)
    for client in (first, *many):
        client.join(20)
    batcher.close()
    assert [len(call) for call in engine.calls] == [1, CLIPS_AT_ONCE, 1]


def test_one_that_spoils_a_batch_spoils_no_other() -> None:
    engine = SlowEngine("cuda")
    batcher = Batcher([cast(Engine, engine)], RATE)
    first = Client(batcher, Ticket(), [clip(0)])
    wait_until(lambda: first.is_alive() and batcher.waiting_seconds == 0)
    clients = [Client(batcher, Ticket(), [clip(number)]) for number in (1, -1, 2)]
    fill(batcher, 3)
    engine.permits.release(5)
    for client in (first, *clients):
        client.join(20)
    batcher.close()
    assert [type(client.error) for client in clients] == [type(None), EngineError, type(None)]
    assert [len(client.heard) for client in clients] == [1, 0, 1]


def test_a_closed_queue_hears_what_waits_and_takes_no_more(engine: SlowEngine) -> None:
    batcher = Batcher([cast(Engine, engine)], RATE)
    client = Client(batcher, Ticket(), [clip(1), clip(2)])
    fill(batcher, 1)
    engine.permits.release(2)
    batcher.close()
    client.join(20)
    assert len(client.heard) == 2
    with pytest.raises(EngineError, match="stopping"):
        batcher.emit(Ticket(), [clip(3)])
