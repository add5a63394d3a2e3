"""The search under AddressSanitizer and UndefinedBehaviorSanitizer, over random lexicons, emissions and settings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sonant.decode.lm import convert_lm

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "src" / "sonant" / "native"
SOURCES = (
    *("beam.cpp", "beam_frame.cpp", "nbest.cpp", "lm.cpp", "lm_small.cpp", "lm_small_writer.cpp"),
    *("mapped_file.cpp", "score_table.cpp"),
)
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.5 <unk> 0
-99 <s> -0.3
-0.9 </s> 0
-0.6 a -0.2
-0.8 b -0.4

\\2-grams:
-0.3 <s> a
-0.2 a b
-0.7 b a

\\end\\
"""


@pytest.mark.sanitize
def test_random_searches_touch_only_their_own_memory(tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is here")
    (tmp_path / "small.arpa").write_text(ARPA)
    convert_lm(tmp_path / "small.arpa", tmp_path / "small.lm")
    program = tmp_path / "search"
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{NATIVE}"]
    sources = [str(HERE / "sanitized_beam.cpp"), *(str(NATIVE / name) for name in SOURCES)]
    subprocess.run([compiler, *flags, *sources, "-o", str(program)], check=True)
    done = subprocess.run([program, tmp_path / "small.lm"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-3000:]
