"""The aligner under AddressSanitizer and UndefinedBehaviorSanitizer, over random texts, emissions and settings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "src" / "sonant" / "native"


@pytest.mark.sanitize
def test_random_alignments_touch_only_their_own_memory(tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is here")
    program = tmp_path / "align"
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{NATIVE}"]
    sources = [str(HERE / "sanitized_align.cpp"), *(str(NATIVE / name) for name in ("align.cpp", "align_band.cpp"))]
    subprocess.run([compiler, *flags, *sources, "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-3000:]
