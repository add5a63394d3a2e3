"""Everything that can go wrong through no fault of ours, as one tree.

    SonantError
    ├── AlignmentError      a text that cannot have been said in its audio
    ├── AudioError          no such file, not audio, empty, corrupt, or samples no model can take
    ├── CheckpointError     a model that cannot be found, read, trusted or built
    │   └── VocabularyError     tokens that do not fit the model, or lack a blank
    ├── ClusterError        a cluster that cannot be reached, or that lacks what its work needs
    ├── DataError           a manifest, a corpus or a shard that cannot be read, or cannot be trained on
    ├── EngineError         a device, precision or engine that is not to be had here
    ├── LanguageModelError  a language model or a lexicon that cannot be found, read or built
    ├── MissingExtraError   an optional package that is not installed
    ├── OptionError         a setting outside what it may be
    ├── OutputError         a result that could not be written
    └── TrainingError       a training that cannot go on

A message is one sentence: what was expected, what came, what to do. What only a bug of ours can cause is an `assert`.
"""

from __future__ import annotations


class SonantError(Exception):
    """The root: catch it to catch whatever a user, a file or a machine can cause."""


class AlignmentError(SonantError):
    """A text that cannot have been said in the audio it is aligned with: none, too long, or impossible."""


class AudioError(SonantError):
    """Audio that cannot be read, or that holds nothing a model could hear."""


class CheckpointError(SonantError):
    """A model that cannot be found, read, trusted or built."""


class VocabularyError(CheckpointError):
    """A vocabulary that does not fit its model or its text."""


class ClusterError(SonantError):
    """A cluster that cannot be reached, or that lacks what its work needs."""


class DataError(SonantError):
    """A manifest, a corpus or a shard that cannot be read, or that would spoil a training."""


class EngineError(SonantError):
    """An engine, device or precision that is not to be had on this machine."""


class LanguageModelError(SonantError):
    """A language model or a lexicon that cannot be found, read or built."""


class MissingExtraError(SonantError, ImportError):
    """An optional package that is not installed; the message names the command that installs it."""


class OptionError(SonantError, ValueError):
    """A setting outside the values it may take."""


class OutputError(SonantError, OSError):
    """A result that could not be written; nothing is left half-written."""


class TrainingError(SonantError):
    """A training that cannot go on: numbers that are not finite, data that changed, a state that is damaged."""
