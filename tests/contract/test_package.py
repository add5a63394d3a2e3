"""What is installed: complete, small, and in need of no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from contract.processes import ROOT

BUILTIN_BYTES = 36_000_000
CODE_BYTES = 3_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout by the tools of this environment."""
    pytest.importorskip("scikit_build_core", reason="the build tools are not installed: scripts/test installs them")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, int]:
    """Every file of the wheel and its size."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


def test_the_wheel_serves_every_python_it_can(wheel: Path) -> None:
    version, abi = wheel.name.split("-")[2:4]
    assert (version, abi) == (("cp312", "abi3") if sys.version_info >= (3, 12) else ("cp311", "cp311"))


def test_the_wheel_holds_every_file_of_the_package_and_no_source_of_the_core(contents: dict[str, int]) -> None:
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source).as_posix())
        for path in (source / "sonant").rglob("*")
        if path.is_file() and path.suffix not in {".cpp", ".h", ".pyc", ".so", ".pyd"}
    }
    held = {name for name in contents if name.startswith("sonant/")}
    compiled = {name for name in held if name.startswith("sonant/native/_native.") and not name.endswith(".pyi")}
    assert len(compiled) == 1
    assert held - compiled == wanted
    assert any(name.endswith("/licenses/LICENSE") for name in contents)
    assert {name.partition("/")[0].partition("-")[0] for name in contents} == {"sonant"}


def test_sizes_stay_in_budget(contents: dict[str, int]) -> None:
    builtin = sum(size for name, size in contents.items() if name.startswith("sonant/builtin/"))
    assert builtin <= BUILTIN_BYTES
    assert sum(contents.values()) - builtin <= CODE_BYTES


def test_the_wheel_runs_where_there_is_no_compiler(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import numpy, sonant, sonant.native; print(sonant.__file__);"
        "print(sonant.native.first_fault(numpy.full((3, 2), numpy.nan, 'f')))"
    )
    paths = [str(tmp_path), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: an editable install of the checkout stays out of the way
        env={**os.environ, "PATH": "", "PYTHONPATH": os.pathsep.join(paths)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [str(tmp_path / "sonant" / "__init__.py"), "(1, 0)"], done.stderr
