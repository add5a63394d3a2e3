"""The built-in model and the example recording, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

import sonant

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.ogg"
SAID = "SEVEN THREE NINE ONE FIVE EIGHT"


@pytest.fixture(scope="session")
def asr() -> sonant.Recognizer:
    """The built-in model in float32, so that results are the same on every processor."""
    return sonant.load(precision="fp32")


@pytest.fixture(scope="session")
def example() -> Path:
    return EXAMPLE
