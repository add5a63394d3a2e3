"""Whatever the documents show is run, page by page, from top to bottom.

`python` fences share one namespace a page; in `bash` and `console` fences the lines that begin with `sonant ` are run.
A fence that cannot run here (it wants the hub, a GPU, a microphone) is marked `text`. Every media file that a page
names and the checkout lacks is a copy of the example recording.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from contract.processes import ROOT

PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]
EXAMPLE = ROOT / "examples" / "digits.ogg"
FENCE = re.compile(r"^ {0,3}```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ {0,3}```\s*$", re.MULTILINE | re.DOTALL)
MEDIA = re.compile(r"[\w./-]+\.(?:wav|flac|mp3|m4a|ogg|opus|webm|mp4|mkv)\b")
KNOWN = {"python", "bash", "console", "text", "json", "toml", "yaml", "html", "mermaid"}


class Block(NamedTuple):
    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fences of a page, with the line each begins on."""
    return [Block(m["language"], m["text"], page.count("\n", 0, m.start("text")) + 1) for m in FENCE.finditer(page)]


def commands(block: Block) -> list[str]:
    """The `sonant` commands of a shell fence, each on one line."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in (raw.strip().removeprefix("$ ") for raw in lines) if line.startswith("sonant ")]


def prepare(folder: Path, texts: list[str]) -> None:
    """Lay out what the texts name: the examples, and a recording under each media name."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in {name for text in texts for name in MEDIA.findall(text)}:
        target = folder / name
        if not Path(name).is_absolute() and ".." not in name and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(EXAMPLE, target)


def run_page(page: Path, folder: Path) -> None:
    found = blocks(page.read_text(encoding="utf-8"))
    runnable = [b for b in found if b.language == "python" or (b.language in {"bash", "console"} and commands(b))]
    if not runnable:
        return
    prepare(folder, [block.text for block in runnable])
    namespace: dict[str, Any] = {"__name__": "__main__"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for block in runnable:
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.text  # tracebacks then name the page's own lines
            exec(compile(code, str(page), "exec"), namespace)
            continue
        for command in commands(block):
            done = subprocess.run(
                command,
                shell=True,
                cwd=folder,
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{page.name}:{block.line}: {command}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_shown_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_says_what_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    unknown = [f"{page.name}:{b.line}: {b.language!r}" for b in blocks(text) if b.language not in KNOWN]
    assert not unknown, unknown
    assert len(re.findall(r"^ {0,3}```", text, re.MULTILINE)) == 2 * len(blocks(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_checkout_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)", text) if not re.match(r"[a-z]+:", t)]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, missing


def test_the_runner_runs_fences_in_order_and_names_the_line_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python\nx = 1\n```\n\n```text\n1 / 0\n```\n\n```python\nassert x == 1\nassert x == 2\n```\n"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(AssertionError) as failure:
        run_page(page, folder)
    assert failure.traceback[-1].lineno + 1 == 13


def test_the_runner_finds_commands() -> None:
    [block] = blocks("```bash\npip install .\n$ sonant transcribe a.ogg \\\n  --format json\n```\n")
    assert commands(block) == ["sonant transcribe a.ogg    --format json"]
