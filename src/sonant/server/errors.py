"""From what went wrong to a status and a sentence."""

from __future__ import annotations

from typing import Any

from sonant.errors import AudioError, OptionError, SonantError
from sonant.server.batcher import LeftError
from sonant.server.models import UnknownModelError
from sonant.server.sandbox import TooLongError
from sonant.server.service import BusyError, SlowError

STATUSES: dict[type[BaseException], int] = {  # the first that fits
    UnknownModelError: 404,
    TooLongError: 413,
    BusyError: 503,
    SlowError: 504,
    OptionError: 400,
    AudioError: 400,
    LeftError: 499,
    SonantError: 500,
}


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for what only a fault of ours can cause."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def sentence_of(error: BaseException) -> str:
    """What a client may read of it: the sentence of an expected error, nothing of the others."""
    return str(error) if isinstance(error, SonantError) else "The server failed at this; its log says why."


def error_message(error: BaseException) -> dict[str, Any]:
    """An error as our own websockets tell it."""
    message = {"type": "error", "code": status_of(error), "message": sentence_of(error)}
    return message | ({"retry_after": error.retry_after} if isinstance(error, BusyError) else {})
