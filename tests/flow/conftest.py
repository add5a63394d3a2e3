"""A small model of spoken digits and a recording of six, loaded once; commands take the model where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import sonant

MODELS = Path(__file__).parents[1] / "models"
EXAMPLE = MODELS / "digits.ogg"
SAID = "SEVEN THREE NINE ONE FIVE EIGHT"


@pytest.fixture(scope="session")
def asr() -> sonant.Recognizer:
    """The model in float32, so that results are the same on every processor."""
    return sonant.load(precision="fp32")


@pytest.fixture(scope="session")
def example() -> Path:
    return EXAMPLE
