"""Whatever the documents show is run, page by page, from top to bottom.

`python` fences share one namespace a page; of `bash` and `console` fences the commands that begin with `sonant ` are
run. Where nothing but the word `prints` stands between such a fence and a `text` fence, they must print just that.
A fence that cannot run here (it wants the hub, a GPU, a microphone) is marked `text`. Every media file that a page
names and the checkout lacks is a copy of the example recording.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sonant
from contract.processes import ROOT

PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]
EXAMPLE = ROOT / "examples" / "forest.ogg"
FENCE = re.compile(r"^ {0,3}```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ {0,3}```\s*$", re.MULTILINE | re.DOTALL)
MEDIA = re.compile(r"[\w./-]+\.(?:wav|flac|mp3|m4a|ogg|opus|webm|mp4|mkv)\b")
KNOWN = {"python", "bash", "console", "text", "json", "toml", "yaml", "html", "mermaid"}


class Block(NamedTuple):
    language: str
    text: str
    line: int
    lead: str
    """What stands between the fence before and this one."""


def blocks(page: str) -> list[Block]:
    """The fences of a page, with the line each begins on."""
    found: list[Block] = []
    end = 0
    for m in FENCE.finditer(page):
        line = page.count("\n", 0, m.start("text")) + 1
        found.append(Block(m["language"], m["text"], line, page[end : m.start()].strip()))
        end = m.end()
    return found


def commands(block: Block) -> list[str]:
    """The `sonant` commands of a shell fence, each on one line."""
    lines = block.text.replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.strip().removeprefix("$ ").split("&&")]
    return [part for part in parts if part.startswith("sonant ")]


def prepare(folder: Path, texts: list[str]) -> None:
    """Lay out what the texts name: the examples, and a recording under each media name."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in {name for text in texts for name in MEDIA.findall(text)}:
        target = folder / name
        if not Path(name).is_absolute() and ".." not in name and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(EXAMPLE, target)


def run_commands(block: Block, folder: Path, page: str) -> str:
    """Run a fence's commands in a folder; what they printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    printed = ""
    for command in commands(block):
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{page}:{block.line}: {command}\n{done.stderr}"
        printed += done.stdout
    return printed


def run_page(page: Path, folder: Path) -> None:
    found = blocks(page.read_text(encoding="utf-8"))
    runnable = [b for b in found if b.language == "python" or (b.language in {"bash", "console"} and commands(b))]
    if not runnable:
        return
    prepare(folder, [block.text for block in runnable])
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    for block in found:
        if block.language == "text" and block.lead == "prints" and printed is not None:
            assert printed.split() == block.text.split(), f"{page.name}:{block.line}: this was printed:\n{printed}"
        printed = None
        if block not in runnable:
            continue
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.text  # tracebacks then name the page's own lines
            exec(compile(code, str(page), "exec"), namespace)
        else:
            printed = run_commands(block, folder, page.name)


@pytest.fixture
def own_names() -> Iterator[None]:
    """Takes back what a page put in the place of another library."""
    before = set(sys.modules)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio" and name not in before]:
        del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_shown_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_names: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SONANT_MODEL", raising=False)
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_gap_is_left_to_fill(page: Path) -> None:
    assert re.findall(r"@[A-Z]+@|\bTODO\b|\bTBD\b", page.read_text(encoding="utf-8")) == []


def test_the_runner_finds_commands() -> None:
    text = "```bash\npip install . && sonant doctor\n$ sonant transcribe a.ogg \\\n  --format json\n```\n"
    [block] = blocks(text)
    assert commands(block) == ["sonant doctor", "sonant transcribe a.ogg    --format json"]


def test_the_runner_compares_what_is_printed(tmp_path: Path) -> None:
    page, first, second = tmp_path / "page.md", tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    fences = "```bash\nsonant --version\n```\n\nprints\n\n```text\nsonant {}\n```\n"
    page.write_text(fences.format(sonant.__version__))
    run_page(page, first)
    page.write_text(fences.format("of another version"))
    with pytest.raises(AssertionError, match=r"page\.md:8: this was printed"):
        run_page(page, second)
