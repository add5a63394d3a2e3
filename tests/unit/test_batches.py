"""Plans: every utterance once, little padding, the same whatever interrupts; and the tensors they become."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonant.data.batches import Loader, Prepared, stream
from sonant.data.plan import Batches, Place, Planner, Row, choose_lengths
from sonant.errors import AudioError, OptionError

RATE = 1000


def durations(count: int, seed: int = 0) -> list[float]:
    """Seconds spread as those of read books are: many near 15, fewer short ones."""
    return (17 * np.random.default_rng(seed).beta(4, 1.6, count)).clip(1.0).round(2).tolist()


def planner(count: int = 400, speed: float = 0.0, world: int = 1, **batches: object) -> Planner:
    made = Batches(**batches)  # type: ignore[arg-type]
    return Planner(durations(count), [str(i % 7) for i in range(count)], made, speed, 0, world)


def loader(count: int = 400, seed: int = 0, **changes: object) -> Loader:
    lasts = durations(count, seed)

    def read(i: int) -> np.ndarray:
        return np.random.default_rng(i).standard_normal(int(lasts[i] * RATE)).astype(np.float32)

    names = [f"u{i}" for i in range(count)]
    values = {"read": read, "names": names, "texts": names, "sample_rate": RATE, "normalize": True, "fewest": 10}
    return Loader(**values | {"seed": 0} | changes)  # type: ignore[arg-type]


def test_an_epoch_hears_every_utterance_once_in_another_order() -> None:
    plan = planner()
    for epoch in range(2):
        heard = [i for step in plan.steps(epoch) for row in step.rows for i in row.utterances]
        assert sorted(heard) == list(range(400))
    first, second = ([row.utterances for s in plan.steps(epoch) for row in s.rows] for epoch in range(2))
    assert first != second
    assert plan.steps(0) == planner().steps(0)


def test_batches_have_few_shapes_and_little_padding() -> None:
    plan = planner(2000)
    assert len(plan.lengths) <= 15
    assert plan.padding() < 0.05
    shapes = Counter((step.seconds, len(step.rows)) for step in plan.steps(0))
    assert len(shapes) <= len(plan.lengths) + 1  # the last step of an epoch is smaller
    for step in plan.steps(0):
        assert max(row.seconds for row in step.rows) <= step.seconds + 1e-9
        assert len(step.rows) * step.seconds <= 80.0 + 1e-6
        assert len(step.rows) <= step.size


@given(st.lists(st.floats(0.1, 30.0), min_size=1, max_size=40), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_chosen_lengths_pad_least(rows: list[float], count: int) -> None:
    lengths = choose_lengths(np.asarray(rows), count)
    assert len(lengths) <= count
    assert lengths[-1] == max(rows)

    def padding(lengths: np.ndarray) -> float:
        return sum(float(lengths[np.searchsorted(lengths, row)]) - row for row in rows)

    if count == 2:
        best = min(padding(np.asarray(sorted({row, max(rows)}))) for row in rows)
        assert padding(lengths) == pytest.approx(best, abs=1e-6)
    assert padding(lengths) <= padding(np.asarray([max(rows)])) + 1e-9


def test_speed_keeps_rows_within_the_lengths() -> None:
    plan = planner(speed=0.2)
    rows = [row for epoch in range(3) for step in plan.steps(epoch) for row in step.rows]
    speeds = [row.speed for row in rows]
    assert min(speeds) < 0.87
    assert max(speeds) > 1.15
    assert all(row.seconds <= plan.lengths[-1] + 1e-9 for row in rows)
    assert all(row.seconds == pytest.approx(plan.durations[row.utterances[0]] / row.speed) for row in rows)


def test_joined_rows_are_of_one_speaker_and_within_their_length() -> None:
    plan = Planner([0.5] * 300, [str(i % 3) for i in range(300)], Batches(seconds=20, join=0.7, join_seconds=5.0))
    rows = [row for step in plan.steps(0) for row in step.rows]
    assert sorted(i for row in rows for i in row.utterances) == list(range(300))
    assert max(len(row.utterances) for row in rows) > 3
    for row in rows:
        assert len({i % 3 for i in row.utterances}) == 1
        assert row.seconds <= 5.0 + 1e-9
        assert row.seconds == pytest.approx((0.5 * len(row.utterances) + sum(row.gaps)) / row.speed)


def test_short_rows_come_first_and_the_limit_ends_an_epoch() -> None:
    walk = planner(seconds=30).walk(Place(), lambda step: 6.0 if step < 20 else 0.0)
    seen = list(islice(walk, 60))
    assert all(row.seconds <= 6.0 for _, step in seen[:20] for row in step.rows)
    assert max(row.seconds for _, step in seen[20:] for row in step.rows) > 6.0
    assert [place.step for place, _ in seen] == list(range(1, 61))
    assert seen[20][0].index == 1
    with pytest.raises(OptionError, match=r"no row is at most 0\.5 s long"):
        next(planner().walk(Place(), lambda _: 0.5))


@pytest.mark.parametrize("at", [1, 19, 20, 21, 47])
def test_a_walk_goes_on_from_any_place(at: int) -> None:
    def limit(step: int) -> float:
        return 6.0 if step < 20 else 0.0

    whole = list(islice(planner(seconds=30, speed=0.1).walk(Place(), limit), 60))
    rest = list(islice(planner(seconds=30, speed=0.1).walk(whole[at - 1][0], limit), 60 - at))
    assert rest == whole[at:]


def same(a: Prepared, b: Prepared) -> bool:
    return a.place == b.place and all(
        torch.equal(x.waveforms, y.waveforms) and x.names == y.names for x, y in zip(a.batches, b.batches, strict=True)
    )


def test_batches_do_not_hang_on_workers_or_interruptions() -> None:
    def noise(samples: np.ndarray, generator: np.random.Generator, share: float) -> np.ndarray:
        return samples + (generator.standard_normal(len(samples)) * share).astype(np.float32)

    plan, load = planner(60, seconds=30, speed=0.1, join=0.5), loader(60, spoil=noise)

    def hard(step: int) -> float:
        return step / 10

    whole = list(islice(stream(plan, load, Place(), hardship=hard), 12))
    many = list(islice(stream(plan, load, Place(), workers=3, ahead=7, hardship=hard), 12))
    rest = list(islice(stream(plan, load, whole[4].place, hardship=hard), 7))
    assert all(map(same, whole, many))
    assert all(map(same, whole[5:], rest))
    assert not same(whole[0], next(stream(plan, loader(60, spoil=noise, seed=1), Place(), hardship=hard)))


def test_ranks_and_accumulation_share_the_rows_of_a_step() -> None:
    one = planner(seconds=40.0, lengths=(5.0, 10.0, 20.0)).steps(0)
    two = planner(seconds=20.0, lengths=(5.0, 10.0, 20.0), world=2).steps(0)
    four = planner(seconds=10.0, lengths=(5.0, 10.0, 20.0), accumulate=2, world=2).steps(0)
    assert [step.rows for step in one] == [step.rows for step in two]
    for plan_seconds, world in ((20.0, 2), (20.0, 1)):
        plan = planner(seconds=plan_seconds, lengths=(5.0, 10.0, 20.0), world=world, accumulate=2 // world)
        for step in plan.steps(0)[:5]:
            parts = [loader().step(step, Place(), rank, world, 0.0) for rank in range(world)]
            names = [name for part in parts for batch in part.batches for name in batch.names]
            assert sorted(names) == sorted(f"u{row.utterances[0]}" for row in step.rows)
    assert sum(len(step.rows) for step in four) == 400


def test_a_batch_is_rows_beside_each_other() -> None:
    load = loader(8)
    rows = [Row((i,), (), 1.0, durations(8)[i]) for i in (3, 5)]
    batch, failed = load.batch(rows, 17.0, 0, 0.0)
    assert not failed
    assert batch.waveforms.shape == (2, 17 * RATE)
    for row, length, i in zip(batch.waveforms, batch.lengths.tolist(), (3, 5), strict=True):
        assert length == len(load.read(i))
        real = row[:length]
        assert real.mean().item() == pytest.approx(0, abs=1e-5)
        assert real.var(correction=0).item() == pytest.approx(1, abs=1e-3)
        assert not row[length:].any()
    joined, _ = load.batch([Row((3, 5), (0.25,), 1.0, 99.0)], 40.0, 0, 0.0)
    assert joined.texts == ("u3 u5",)
    assert joined.lengths.item() == len(load.read(3)) + RATE // 4 + len(load.read(5))


def test_what_cannot_be_read_is_left_out_with_its_reason() -> None:
    def read(i: int) -> np.ndarray:
        if i == 1:
            raise AudioError("u1 is damaged.")
        return np.zeros(5 if i == 2 else 3000 if i == 3 else 1000, np.float32)

    rows = [Row((i,), (), 1.0, 1.0) for i in range(4)]
    batch, failed = loader(8, read=read).batch(rows, 2.0, 0, 0.0)
    assert batch.names == ("u0",)
    assert failed[0] == "u1 is damaged."
    assert "u2 must have the 10 samples of a frame, but has 5" in failed[1]
    assert "u3 must last as long as its manifest says, but lasts 2.0 s longer" in failed[2]


def test_lengths_given_must_reach_the_longest() -> None:
    with pytest.raises(OptionError, match=r"must reach the longest utterance"):
        planner(lengths=(1.0, 2.0))
    with pytest.raises(OptionError, match="must have utterances"):
        Planner([], [], Batches())


def grouped(seed: int = 0, world: int = 1, loose: int = 0) -> Planner:
    """400 utterances in 10 shards of 40, but for the last `loose`; 3 shards are heard at a time."""
    shards = [f"s{i // 40}" if i < 400 - loose else None for i in range(400)]
    batches = Batches(seconds=40.0, join=0.3, shards=3)
    return Planner(durations(400), [str(i % 7) for i in range(400)], batches, 0.1, seed, world, shards)


def test_an_epoch_is_a_permutation_of_shards_a_few_at_a_time() -> None:
    plan = grouped()
    orders = []
    for epoch in range(3):
        heard: dict[int, set[int]] = {}
        steps = plan.steps(epoch)
        assert [step.group for step in steps] == sorted(step.group for step in steps)
        for step in steps:
            heard.setdefault(step.group, set()).update(i for row in step.rows for i in row.utterances)
        assert set().union(*heard.values()) == set(range(400))
        assert [len(own) for own in heard.values()] == [120, 120, 120, 40]
        shards = [sorted({i // 40 for i in own}) for own in heard.values()]
        assert [sorted(group) for group in plan.groups(epoch)] == shards
        for k in range(4):
            near = set(plan.near(epoch, k))
            assert {f"s{s}" for s in shards[k]} <= near
            assert len(near) <= 6
        orders.append(shards)
    assert orders[0] != orders[1] != orders[2]
    assert set(plan.near(0, 3)) == {plan.names[s] for s in (*plan.groups(0)[3], *plan.groups(1)[0])}
    assert grouped().steps(1) == plan.steps(1) != grouped(seed=1).steps(1)
    assert plan.padding() < 0.15
    assert {i // 40 for i in plan.first()} == set(plan.groups(0)[0])


def test_what_lies_in_no_shard_is_dealt_out_to_the_groups() -> None:
    plan = grouped(loose=40)
    groups = [[i for s in plan.steps(0) if s.group == k for row in s.rows for i in row.utterances] for k in range(3)]
    assert [sum(i >= 360 for i in own) for own in groups] == [14, 13, 13]
    assert sorted(i for own in groups for i in own) == list(range(400))


def test_groups_give_ranks_equal_shares_and_a_walk_goes_on_anywhere() -> None:
    plan = grouped(world=2)
    for step in plan.steps(0):
        assert abs(len(step.rows[0::2]) - len(step.rows[1::2])) <= 1
    whole = list(islice(plan.walk(Place(), lambda _: 0.0), 80))
    rest = list(islice(grouped(world=2).walk(whole[36][0], lambda _: 0.0), 43))
    assert rest == whole[37:]


def test_a_group_is_held_before_it_is_waited_for_and_only_the_next_is_begun() -> None:
    plan, held, ahead = grouped(), list[tuple[int, int]](), list[int]()
    turns = [(0, 0)]

    def read(i: int) -> np.ndarray:
        allowed = set(plan.near(*held[-1])) | set(plan.near(*held[-2] if len(held) > 1 else held[-1]))
        ahead.append(plan.names[plan.shards[i]] not in allowed)
        return np.zeros(int(durations(400)[i] * RATE), np.float32)

    def hold(epoch: int, group: int) -> None:
        held.append((epoch, group))
        if turns[-1] != (epoch, group):
            turns.append((epoch, group))

    batches = stream(plan, loader(read=read), Place(), ahead=30, hold=hold)
    count = len(plan.steps(0)) + 5
    walk = plan.walk(Place(), lambda _: 0.0)
    for (place, step), prepared in zip(islice(walk, count), batches, strict=False):
        assert held[-1] == (place.epoch, step.group)
        assert prepared.place == place
    batches.close()
    assert turns == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert not any(ahead)
