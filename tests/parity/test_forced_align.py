"""`forced_align` and `merge_tokens` as torchaudio has them: on its own small cases, by its rules, with its errors."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sonant import AlignmentError, OptionError  # noqa: E402
from sonant.compat.torchaudio import functional as F  # noqa: E402

# the example of Graves' CTC in TensorFlow's tests, which torchaudio's follow: probabilities, blank 5
EXAMPLE = [
    [0.633766, 0.221185, 0.0917319, 0.0129757, 0.0142857, 0.0260553],
    [0.111121, 0.588392, 0.278779, 0.0055756, 0.00569609, 0.010436],
    [0.0357786, 0.633813, 0.321418, 0.00249248, 0.00272882, 0.0037688],
    [0.0663296, 0.643849, 0.280111, 0.00283995, 0.0035545, 0.00331533],
    [0.458235, 0.396634, 0.123377, 0.00648837, 0.00903441, 0.00623107],
]


def slow_path(values: np.ndarray, targets: list[int], blank: int) -> list[int]:
    """Viterbi's algorithm over blanks and targets, with the order among equals of torchaudio's sources."""
    states = [blank, *(token for target in targets for token in (target, blank))]
    scores = [values[0, states[s]] if s < 2 else -np.inf for s in range(len(states))]
    moves: list[list[int]] = []
    for row in values[1:]:
        moved = []
        for s, token in enumerate(states):
            stay, near = scores[s], scores[s - 1] if s else -np.inf
            far = scores[s - 2] if s % 2 and s > 1 and token != states[s - 2] else -np.inf
            moved.append(2 if far > near and far > stay else int(near > stay))
        scores = [scores[s - moved[s]] + row[token] for s, token in enumerate(states)]
        moves.append(moved)
    s = len(states) - 1 if scores[-1] > scores[-2] else len(states) - 2
    path = [s]
    for moved in reversed(moves):
        path.append(path[-1] - moved[path[-1]])
    return [states[s] for s in reversed(path)]


@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
@pytest.mark.parametrize("real", [torch.float16, torch.float32, torch.float64])
def test_the_classic_example(integer: torch.dtype, real: torch.dtype) -> None:
    log_probs = torch.tensor([EXAMPLE]).log().to(real)
    targets = torch.tensor([[0, 1, 2, 1, 0]], dtype=integer)
    paths, scores = F.forced_align(log_probs, targets, torch.tensor([5]), torch.tensor([5]), blank=5)
    assert (paths.dtype, scores.dtype) == (integer, real)
    assert paths.tolist() == [[0, 1, 2, 1, 0]]
    assert torch.equal(scores, log_probs[:, torch.arange(5), paths[0].long()])


def test_random_cases_with_ties_go_the_slow_way() -> None:
    generator = np.random.default_rng(8)
    for _ in range(200):
        num_frames, num_columns = int(generator.integers(3, 20)), int(generator.integers(2, 6))
        blank = int(generator.integers(num_columns))
        values = -generator.integers(0, 4, (num_frames, num_columns)).astype(np.float32)
        others = [token for token in range(num_columns) if token != blank]
        targets = generator.choice(others, generator.integers(1, 7)).tolist()
        if len(targets) + sum(a == b for a, b in pairwise(targets)) > num_frames:
            continue
        paths, _ = F.forced_align(torch.from_numpy(values)[None], torch.tensor([targets]), blank=blank)
        assert paths[0].tolist() == slow_path(values, targets, blank)
        assert [token for token, _ in groupby(paths[0].tolist()) if token != blank] == targets


def test_merged_tokens_have_frames_and_mean_scores() -> None:
    tokens = torch.tensor([0, 1, 1, 0, 1, 2, 2, 2])
    scores = torch.tensor([0.5, 0.25, 0.75, 0.1, 1.0, 0.5, 0.5, 0.8])
    spans = F.merge_tokens(tokens, scores)
    assert [(span.token, span.start, span.end, len(span)) for span in spans] == [
        (1, 1, 3, 2),
        (1, 4, 5, 1),
        (2, 5, 8, 3),
    ]
    assert [span.score for span in spans] == [pytest.approx(0.5), pytest.approx(1.0), pytest.approx(0.6)]
    assert F.merge_tokens(tokens, scores, blank=1)[0] == F.TokenSpan(0, 0, 1, 0.5)
    assert F.merge_tokens(tokens[:0], scores[:0]) == []


VALUES = torch.rand(1, 5, 6).log_softmax(-1)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((VALUES, torch.tensor([[0, 1]])), ValueError, "targets Tensor shouldn't contain blank index"),
        ((VALUES, torch.tensor([[1, 6]])), ValueError, "targets values must be less than the CTC dimension"),
        ((VALUES, torch.tensor([[1, 1, 2, 2]])), RuntimeError, "targets length is too long for CTC"),
        ((VALUES[0], torch.tensor([[1]])), RuntimeError, "log_probs must be 3-D"),
        ((VALUES, torch.tensor([1])), RuntimeError, "targets must be 2-D"),
        ((VALUES.int(), torch.tensor([[1]])), RuntimeError, "log_probs must be float64, float32 or float16"),
        ((VALUES, torch.tensor([[1.0]])), RuntimeError, "targets must be int32 or int64 type"),
        ((VALUES.repeat(2, 1, 1), torch.tensor([[1]])), RuntimeError, "The batch dimension for log_probs must be 1"),
        ((VALUES, torch.tensor([[1], [2]])), RuntimeError, "The batch dimension for targets must be 1"),
        ((VALUES, torch.tensor([[1]]), torch.tensor([4])), RuntimeError, "input length mismatch"),
        ((VALUES, torch.tensor([[1]]), torch.tensor([[5]])), RuntimeError, "input_lengths must be 1-D"),
        ((VALUES, torch.tensor([[1]]), None, torch.tensor([2])), RuntimeError, "target length mismatch"),
        ((VALUES, torch.tensor([[1]]), None, None, 6), RuntimeError, "blank must be within"),
        ((VALUES * torch.nan, torch.tensor([[1]])), RuntimeError, "frame 0 has NaN"),
    ],
)
def test_errors_are_torchaudio_s(arguments: tuple[object, ...], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        F.forced_align(*arguments)
    assert isinstance(raised.value, AlignmentError | OptionError)


def test_merging_wants_one_score_a_frame() -> None:
    with pytest.raises(ValueError, match="must be 1D"):
        F.merge_tokens(torch.tensor([[1]]), torch.tensor([[0.5]]))
    with pytest.raises(ValueError, match="the same length"):
        F.merge_tokens(torch.tensor([1]), torch.tensor([0.5, 0.5]))
