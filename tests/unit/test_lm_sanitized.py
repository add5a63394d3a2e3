"""The readers of language models under AddressSanitizer and UndefinedBehaviorSanitizer, over damaged files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sonant.decode.lm import convert_lm
from unit.ngrams import random_model, write_arpa
from unit.test_kenlm import FOLDER, KINDS

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "src" / "sonant" / "native"
SOURCES = (
    "arpa.cpp",
    "kenlm.cpp",
    "kenlm_probing.cpp",
    "kenlm_trie.cpp",
    "lm_builder.cpp",
    "lm.cpp",
    "lm_small.cpp",
    "lm_small_writer.cpp",
    "mapped_file.cpp",
    "score_table.cpp",
)
TURNS = 300


@pytest.mark.sanitize
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is needed")
def test_damaged_models_are_read_within_their_bounds(tmp_path: Path) -> None:
    arpa = write_arpa(tmp_path / "m.arpa", random_model(3, 3, contexts=True))
    own = convert_lm(arpa, tmp_path / "m.lm").path
    small = convert_lm(arpa, tmp_path / "small.lm", small=True).path
    program = tmp_path / "sanitized_lm"
    sources = [str(HERE / "sanitized_lm.cpp"), *(str(NATIVE / name) for name in SOURCES)]
    options = ["-std=c++17", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{NATIVE}"]
    subprocess.run(["g++", *options, *sources, "-o", str(program)], check=True)
    files = [arpa, own, small, *(FOLDER / f"{kind}.bin" for kind in KINDS)]
    done = subprocess.run([program, str(TURNS), tmp_path, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused = [int(line) for line in done.stdout.split()]
    assert len(refused) == len(files)
    assert all(0 < count < TURNS for count in refused)
