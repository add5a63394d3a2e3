"""wav2vec 2.0 from raw audio to text: `sonant.load().transcribe("talk.mp3").text`.

Public names are imported when they are first used (PEP 562), so that `import sonant` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load": "recognizer",
    "Recognizer": "recognizer",
    "models": "checkpoints.catalogue",
    "WindowSpec": "windows",
    "Stream": "stream",
    "StreamEvent": "stream",
    "GreedyDecoder": "decode.greedy",
    "BeamDecoder": "decode.beam",
    "align": "alignment",
    "Classification": "identify",
    "label_speakers": "speakers",
    "align_many": "alignment",
    "Alignment": "alignment",
    "Vocabulary": "types",
    "Emissions": "types",
    "Letter": "types",
    "Word": "types",
    "WordTimes": "types",
    "Hypothesis": "types",
    "Segment": "types",
    "Transcript": "types",
    "CueSpec": "subtitles",
    "SonantError": "errors",
    "AlignmentError": "errors",
    "AudioError": "errors",
    "CheckpointError": "errors",
    "VocabularyError": "errors",
    "DataError": "errors",
    "EngineError": "errors",
    "MissingExtraError": "errors",
    "OptionError": "errors",
    "OutputError": "errors",
}

if TYPE_CHECKING:
    from sonant.alignment import Alignment as Alignment
    from sonant.alignment import align as align
    from sonant.alignment import align_many as align_many
    from sonant.checkpoints.catalogue import models as models
    from sonant.decode.beam import BeamDecoder as BeamDecoder
    from sonant.decode.greedy import GreedyDecoder as GreedyDecoder
    from sonant.errors import AlignmentError as AlignmentError
    from sonant.errors import AudioError as AudioError
    from sonant.errors import CheckpointError as CheckpointError
    from sonant.errors import DataError as DataError
    from sonant.errors import EngineError as EngineError
    from sonant.errors import MissingExtraError as MissingExtraError
    from sonant.errors import OptionError as OptionError
    from sonant.errors import OutputError as OutputError
    from sonant.errors import SonantError as SonantError
    from sonant.errors import VocabularyError as VocabularyError
    from sonant.identify import Classification as Classification
    from sonant.recognizer import Recognizer as Recognizer
    from sonant.recognizer import load as load
    from sonant.speakers import label_speakers as label_speakers
    from sonant.stream import Stream as Stream
    from sonant.stream import StreamEvent as StreamEvent
    from sonant.subtitles import CueSpec as CueSpec
    from sonant.types import Emissions as Emissions
    from sonant.types import Hypothesis as Hypothesis
    from sonant.types import Letter as Letter
    from sonant.types import Segment as Segment
    from sonant.types import Transcript as Transcript
    from sonant.types import Vocabulary as Vocabulary
    from sonant.types import Word as Word
    from sonant.types import WordTimes as WordTimes
    from sonant.windows import WindowSpec as WindowSpec

__all__ = [  # noqa: PLE0604 (names, not objects)
    "__version__",
    *_HOMES,
]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sonant' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"sonant.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
