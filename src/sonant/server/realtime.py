"""OpenAI's realtime transcription over a websocket: base64 audio in, words as they become final out."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import Any, cast

from fastapi import APIRouter, WebSocket

from sonant.errors import OptionError
from sonant.server.access import accept, messages, parsed, service_of, telling
from sonant.server.errors import sentence_of, status_of
from sonant.server.live import Cut, Lag, Live, PcmReader, from_base64
from sonant.server.models import ServedModel
from sonant.stream import StreamEvent

router = APIRouter()
RATE = 24_000
"""Hertz of the audio where a client does not say."""
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """One transcription session."""
    await accept(socket)
    async with telling(socket, _error):
        service = service_of(socket)
        session = Session(socket, service.models.find(socket.query_params.get("model")))
        try:
            await session.send("session.created", session=session.described())
            async with asyncio.TaskGroup() as tasks:
                session.tasks = tasks
                reading = tasks.create_task(session.read(service.settings.idle_seconds))
                session.ended.add_done_callback(lambda _: reading.cancel())
        finally:
            if session.live:
                session.live.close()


class Session:
    """What a client has set, and the item of the conversation that is being heard."""

    def __init__(self, socket: WebSocket, model: ServedModel) -> None:
        self.socket = socket
        self.model = model
        self.rate = RATE
        self.turns: dict[str, Any] | None = {"type": "server_vad"}
        """Whether pauses end items; None where only the client does."""
        self.live: Live | None = None
        self.tasks: asyncio.TaskGroup | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._id = _new("sess")
        self._item, self._previous = _new("item"), cast("str | None", None)
        self._words: list[str] = []
        self._cuts: deque[bool] = deque()
        """Of the cuts to come, whether each completes an item."""
        self._began = 0.0
        self._reader = PcmReader()

    async def send(self, kind: str, **fields: Any) -> None:
        """One event to the client."""
        await self.socket.send_json({"type": kind, "event_id": _new("event"), **fields})

    def described(self) -> dict[str, Any]:
        """The session as the client set it."""
        audio = {
            "format": {"type": "audio/pcm", "rate": self.rate},
            "transcription": {"model": self.model.name, "language": self.model.language},
            "turn_detection": self.turns,
            "noise_reduction": None,
        }
        return {"type": "transcription", "object": "realtime.session", "id": self._id, "audio": {"input": audio}}

    async def read(self, idle_seconds: float) -> None:
        """Take what the client sends until it goes."""
        async for message in messages(self.socket, idle_seconds, lambda: bool(self.live and self.live.busy)):
            if isinstance(message, bytes):
                raise OptionError("Messages in JSON were expected, but bytes came; send audio as base64 in them.")
            tree = parsed(message)
            kind = tree.get("type")
            try:
                await self._take(kind, tree)
            except OptionError as error:  # a wrong message is told, and the session goes on
                await self.send("error", error=_described(error) | {"event_id": tree.get("event_id")})
        if self.live:
            self.live.close()

    async def _take(self, kind: object, tree: dict[str, Any]) -> None:
        if kind in ("session.update", "transcription_session.update"):
            self._update(tree.get("session"))
            await self.send(f"{kind!s}d", session=self.described())
        elif kind == "input_audio_buffer.append":
            await self._opened().put(self._reader.read(from_base64(tree.get("audio"))))
        elif kind == "input_audio_buffer.commit":
            self._cut(keep=True)
        elif kind == "input_audio_buffer.clear":
            if self.live:
                self._cut(keep=False)
            await self.send("input_audio_buffer.cleared")
        else:
            raise OptionError(f"A message of the transcription protocol was expected, but {str(kind)[:60]!r} came.")

    def _cut(self, *, keep: bool) -> None:
        """End the item under way behind what came; it is completed, or what was heard of it is dropped."""
        self._opened().cut()
        self._cuts.append(keep)

    def _update(self, given: object) -> None:
        """Take over what a `session.update` says, in today's form or that of the beta."""
        session = _tree(given)
        sound = _tree(_tree(session.get("audio")).get("input"))
        old = "input_audio_transcription" in session or "input_audio_format" in session
        form = _tree(sound.get("format"))
        rate = form.get("rate", self.rate)
        if form.get("type", "audio/pcm") != "audio/pcm" or session.get("input_audio_format", "pcm16") != "pcm16":
            raise OptionError("Audio must be audio/pcm, 16 bits little-endian, but another format was set; convert it.")
        if not isinstance(rate, int) or isinstance(rate, bool):
            raise OptionError("The rate of audio/pcm must be a whole number, but another value came; correct it.")
        wanted = _tree(session.get("input_audio_transcription") if old else sound.get("transcription"))
        name, language = (wanted.get(key) for key in ("model", "language"))
        model = self.model
        if isinstance(name, str) or isinstance(language, str):
            model = service_of(self.socket).models.find(
                name if isinstance(name, str) else None, language if isinstance(language, str) else None
            )
        if self.live and (rate != self.rate or model is not self.model):
            raise OptionError("Rate and model must be set before the first audio, but came after it; begin anew.")
        self.rate, self.model = rate, model
        settings = session if old else sound
        if "turn_detection" in settings:
            self.turns = _tree(settings["turn_detection"]) or None

    def _opened(self) -> Live:
        if self.live is None:
            self.live = Live(service_of(self.socket), self.model, self.rate, "realtime")
            assert self.tasks
            self.tasks.create_task(self._tell(self.live))
        return self.live

    async def _tell(self, live: Live) -> None:
        """The stream's events in OpenAI's words. What is tentative is kept back: deltas are never taken back."""
        async for event in live.events():
            if isinstance(event, Cut):
                if self._cuts.popleft():
                    await self._complete(event.seconds)
                else:
                    self._item, self._words, self._began = _new("item"), [], event.seconds
            elif isinstance(event, Lag):
                await self.send(
                    "rate_limits.updated", rate_limits=[{"name": "lag", "seconds": round(event.seconds, 1)}]
                )
            elif event.kind == "final":
                await self._words_of(event)
        if self._words:
            await self._complete(live.seconds)
        if not self.ended.done():
            self.ended.set_result(None)

    async def _words_of(self, event: StreamEvent) -> None:
        if event.words:
            delta = (event.space if self._words else "") + event.text
            self._words.append(delta)
            await self.send(f"{TRANSCRIPTION}.delta", item_id=self._item, content_index=0, delta=delta)
        if event.segment_end and self.turns and self._words:
            await self._complete(event.end)

    async def _complete(self, end: float) -> None:
        """The item under way is complete; what follows is the next."""
        item, text = self._item, "".join(self._words)
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=self._previous)
        usage = {"type": "duration", "seconds": round(max(end - self._began, 0.0), 3)}
        await self.send(f"{TRANSCRIPTION}.completed", item_id=item, content_index=0, transcript=text, usage=usage)
        self._previous, self._item, self._words, self._began = item, _new("item"), [], end


def _tree(value: object) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise OptionError("A part of the session must be a JSON object, but is another value; correct it.")
    return cast("dict[str, Any]", value or {})


def _described(error: BaseException) -> dict[str, Any]:
    kind = "server_error" if status_of(error) >= 500 else "invalid_request_error"
    return {"type": kind, "code": str(status_of(error)), "message": sentence_of(error), "param": None}


def _error(error: BaseException) -> dict[str, Any]:
    return {"type": "error", "event_id": _new("event"), "error": _described(error)}


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(8)}"
