"""What every test shares: the place of recorded speech, and quiet libraries."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: a test never waits for a network
_cache = tempfile.TemporaryDirectory(prefix="sonant-tests-", ignore_cleanup_errors=True)
os.environ["SONANT_CACHE"] = _cache.name  # nothing is left in the user's own
os.environ["SONANT_MODEL"] = str(Path(__file__).parent / "models" / "digits")  # quicker than the built-in one
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors of tests are tiny; threads only get in each other's way

# A busy machine is no failure.
settings.register_profile("sonant", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sonant")


def pytest_unconfigure() -> None:
    _cache.cleanup()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--speech-data", type=Path, metavar="DIR", help="folder of recorded speech, for `data` tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--speech-data") is None:
        skip = pytest.mark.skip(reason="needs recorded speech: --speech-data=DIR")
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def speech_data(pytestconfig: pytest.Config) -> Path:
    """The folder given by `--speech-data`: one folder a corpus, each with a `manifest.jsonl`."""
    folder: Path | None = pytestconfig.getoption("--speech-data")
    assert folder is not None, "a test that uses speech_data must be marked `data`"
    if not folder.is_dir():
        pytest.fail(f"--speech-data must name a folder, but {folder} is none.")
    return folder
