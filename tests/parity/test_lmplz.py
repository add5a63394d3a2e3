"""Models equal those of KenLM's lmplz, where that program is on the path."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from sonant.decode.estimate import estimate_lm
from unit.kneser_ney import read_arpa

LMPLZ = shutil.which("lmplz")


@pytest.mark.skipif(LMPLZ is None, reason="lmplz is not installed")
@pytest.mark.parametrize("seed", range(12))
def test_models_equal_those_of_lmplz(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    order, num_types = generator.randint(1, 6), generator.choice([3, 10, 100])
    lines = [
        " ".join(f"w{int(generator.expovariate(4 / num_types))}" for _ in range(generator.randint(1, 15)))
        for _ in range(generator.choice([2, 20, 500]))
    ]
    prune = sorted(generator.choice([0, 0, 1, 2]) for _ in range(order - 1))
    text, ours, theirs = tmp_path / "text", tmp_path / "ours.arpa", tmp_path / "theirs.arpa"
    text.write_text("\n".join(lines) + "\n")
    estimate_lm([text], arpa=ours, order=order, prune=[0, *prune], temporary=tmp_path)
    command = [LMPLZ, "-o", order, "-S", "100M", "-T", tmp_path, "--vocab_estimate", 1000, "--discount_fallback"]
    command += ["--text", text, "--arpa", theirs, "--prune", 0, *prune]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    (_, found), (_, expected) = read_arpa(ours), read_arpa(theirs)
    assert found.keys() == expected.keys()
    for gram, (score, backoff) in expected.items():
        assert abs(found[gram][0] - score) < 1e-4
        assert abs(found[gram][1] - max(backoff, -99)) < 1e-4
