"""What every result says beside its figures: processor, load and versions; and where results lie."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe(*packages: str) -> dict[str, Any]:
    """Processor, cores, how many processes wanted one lately, Python and the versions of what was measured."""
    wanted = ("sonant", "numpy", "openvino", *packages)
    facts = {"processor": processor(), "cores": os.cpu_count(), "load": round(os.getloadavg()[1], 1)}
    return {**facts, "python": platform.python_version(), **versions(wanted)}


def processor() -> str:
    """The processor's name with the features that matter here."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    flags = set(facts.get("flags", "").split())
    matter = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{facts.get('model name', platform.processor())} ({' '.join(matter)})"


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def resident(most: bool = False) -> float:
    """MB of this process in memory, now or at most; 0 where Linux does not tell.

    What `getrusage` has as the most is inherited from the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:" if most else "VmRSS:")[1].split()[0]) / 1024


def write_result(name: str, result: dict[str, Any]) -> None:
    """Keep a result as results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
