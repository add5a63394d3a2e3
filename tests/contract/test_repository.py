from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.processes import ROOT

ONE_MACHINE = re.compile(r"(?<![\w./<*])(/(?:home|root|Users|work|mnt|tmp)/|[A-Z]:\\Users\\)\w")


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """Every text file under version control."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():  # deleted, and not yet committed
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_file_names_a_place_on_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if ONE_MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


def test_text_files_end_in_one_newline_and_use_line_feeds() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path, text in tracked_texts()
        if path.suffix != ".json"  # as programs write them
        and ("\r" in text or (text and (not text.endswith("\n") or text.endswith("\n\n"))))
    ]
    assert not wrong, wrong
