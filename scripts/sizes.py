"""Names every file of the package over 400 lines and every function over 60; `python scripts/sizes.py`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES, FUNCTION_LINES = 400, 60
SUFFIXES = (".py", ".cpp", ".h")


def oversized(root: Path) -> Iterator[str]:
    """One sentence for each file and function that is too long."""
    for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > FILE_LINES:
            yield f"{path}: {lines} lines; a file stops at {FILE_LINES}."
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield f"{path}:{node.lineno}: {node.name} has {lines} lines; a function stops at {FUNCTION_LINES}."


if __name__ == "__main__":
    complaints = list(oversized(Path(__file__).parent.parent / "src"))
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(bool(complaints))
