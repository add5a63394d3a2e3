"""Pictures, drawn by matplotlib without a screen: the only package that imports it.

Functions return figures, which notebooks show and `save_figure` writes.
"""

from __future__ import annotations

from sonant.plots.figures import check_format, save_figure
from sonant.plots.recognition import recognition_figure
from sonant.plots.speech import LONGEST, check_length, emissions_figure, speech_figure
from sonant.plots.training import MANY, manifest_figure, read_curves, running_mean, training_figure

__all__ = [
    "LONGEST",
    "MANY",
    "check_format",
    "check_length",
    "emissions_figure",
    "manifest_figure",
    "read_curves",
    "recognition_figure",
    "running_mean",
    "save_figure",
    "speech_figure",
    "training_figure",
]
