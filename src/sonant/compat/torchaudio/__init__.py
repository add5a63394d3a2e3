"""torchaudio's speech recognition over sonant: `install()`, and scripts that import torchaudio run as they stand.

What is offered has torchaudio's names, shapes and types; what is not raises an error that names the replacement.
"""

from __future__ import annotations

import sys
from functools import partial

from sonant.errors import MissingExtraError

try:
    from sonant.compat.torchaudio import functional, models, pipelines, transforms, utils
    from sonant.compat.torchaudio.absent import Refuser, refuse
    from sonant.compat.torchaudio.files import (
        AudioMetaData,
        get_audio_backend,
        info,
        list_audio_backends,
        load,
        save,
        set_audio_backend,
    )
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise MissingExtraError(
        "torchaudio's calls run on PyTorch, which is not installed: pip install 'sonant[torch]'"
    ) from None

__all__ = [
    "AudioMetaData",
    "functional",
    "get_audio_backend",
    "info",
    "install",
    "list_audio_backends",
    "load",
    "models",
    "pipelines",
    "save",
    "set_audio_backend",
    "transforms",
    "utils",
]
__version__ = "2.8.0+sonant"

__getattr__ = partial(refuse, __name__)


def install() -> None:
    """Make `import torchaudio` give this package, in this process; a torchaudio imported before is replaced."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
    for name, module in list(sys.modules.items()):
        if name == __name__ or name.startswith(f"{__name__}."):
            sys.modules[name.removeprefix("sonant.compat.")] = module
    if not any(isinstance(finder, Refuser) for finder in sys.meta_path):
        sys.meta_path.append(Refuser())
