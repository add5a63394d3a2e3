"""What an import costs and needs. The layers themselves are checked by import-linter (`scripts/check`)."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import distribution, packages_distributions
from pkgutil import walk_packages

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sonant
from contract.processes import ROOT, run_python

NEW_LIBRARIES = """
import sys
before = set(sys.modules)
{code}
names = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(names - sys.stdlib_module_names - {{"sonant"}}))
"""

IMPORT_ALL = """
import importlib, json, sys, traceback

class OnlyCore:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        if top in blocked:
            raise ModuleNotFoundError(f"No module named {top!r} (not a core dependency)", name=top)

modules, blocked = json.loads(sys.argv[1])
sys.meta_path.insert(0, OnlyCore)
failures = {}
for module in modules:
    try:
        importlib.import_module(module)
    except Exception:
        failures[module] = traceback.format_exc()
print(json.dumps(failures))
"""


def core_distributions() -> set[str]:
    """Everything that `pip install sonant` installs, by canonical name."""
    found: set[str] = set()
    waiting = ["sonant"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def extra_modules() -> re.Pattern[str]:
    """The modules that may import PyTorch, Ray or the server's libraries, as import-linter's contracts list them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [line for c in settings["tool"]["importlinter"]["contracts"] for line in c.get("ignore_imports", [])]
    served = {"torch", "fastapi", "starlette", "uvicorn", "ray"}
    allowed = [line.split(" -> ")[0] for line in lines if line.split(" -> ")[1] in served]
    return re.compile("|".join(re.escape(a).replace(r"\*\*", ".+").replace(r"\*", "[^.]+") for a in allowed))


def test_every_module_imports_with_the_core_dependencies_alone() -> None:
    core, extra = core_distributions(), extra_modules()
    names = [m.name for m in walk_packages(sonant.__path__, "sonant.")]
    modules = [name for name in names if not extra.fullmatch(name) and not name.endswith("__main__")]
    assert {"sonant.types", "sonant.native", "sonant.model.config"} <= set(modules)
    assert "sonant.model.encoder" not in modules
    blocked = [
        top for top, owners in packages_distributions().items() if not core & set(map(canonicalize_name, owners))
    ]
    assert "pytest" in blocked
    assert "numpy" not in blocked
    failures = json.loads(run_python(IMPORT_ALL, json.dumps([modules, blocked])))
    assert not failures, "\n".join(failures.values())


def test_importing_sonant_imports_no_library() -> None:
    assert run_python(NEW_LIBRARIES.format(code="import sonant")).split() == []


def test_naming_a_value_type_imports_numpy_alone() -> None:
    assert run_python(NEW_LIBRARIES.format(code="import sonant; sonant.Transcript")).split() == ["numpy"]


@pytest.mark.parametrize("arguments", [["--help"], ["transcribe", "--help"]])
def test_help_imports_nothing_that_runs_models(arguments: list[str]) -> None:
    code = f"""
import sys, sonant.cli
sys.argv = ["sonant", *{arguments!r}]
try:
    sonant.cli.main()
except SystemExit as end:
    assert not end.code, end.code
print("imported", *{{"numpy", "torch", "openvino", "av", "soxr", "huggingface_hub", "safetensors"}} & set(sys.modules))
"""
    assert run_python(code).splitlines()[-1].strip() == "imported"


def test_torchaudio_s_calls_say_that_they_need_pytorch() -> None:
    code = """
import sys
sys.modules["torch"] = None
try:
    from sonant.compat import torchaudio
except ImportError as error:
    print(error)
"""
    assert run_python(code).strip().endswith("which is not installed: pip install 'sonant[torch]'")
