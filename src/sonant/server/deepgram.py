"""Deepgram's `/v1/listen`: live audio over a websocket, and whole files."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, WebSocket

from sonant.errors import OptionError
from sonant.server.access import accept, body_file, left, messages, parsed, service_of, telling
from sonant.server.errors import sentence_of
from sonant.server.live import Cut, Lag, Live, PcmReader
from sonant.server.models import ServedModel
from sonant.server.service import unless_left
from sonant.stream import StreamEvent
from sonant.types import Word

router = APIRouter(tags=["Deepgram"])
BODY = {"content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}}


@router.post("/v1/listen", summary="A file to text", openapi_extra={"requestBody": BODY})
async def listen_to_file(request: Request) -> dict[str, Any]:
    """As Deepgram's pre-recorded audio: the body is the file. Addresses are not fetched."""
    if "json" in request.headers.get("content-type", ""):
        raise OptionError("A file's bytes were expected, but JSON came; this server fetches no addresses, so send it.")
    service, query = service_of(request), request.query_params
    model = service.models.find(query.get("model"), query.get("language"))
    async with body_file(request) as file:
        transcript = await unless_left(service.transcribe(file, model, protocol="deepgram"), left(request))
    about = _about(model, secrets.token_hex(16))
    about |= {"duration": round(transcript.duration, 3), "channels": 1, "created": _now()}
    return {
        "metadata": about,
        "results": {"channels": [{"alternatives": [_reading(transcript.text, transcript.words)]}]},
    }


@router.websocket("/v1/listen")
async def listen(socket: WebSocket) -> None:
    """As Deepgram's live audio."""
    await accept(socket)
    async with telling(socket, _error):
        live, reader = Live.asked_for(socket, "deepgram", "linear16")
        try:
            async with asyncio.TaskGroup() as tasks:
                idle = service_of(socket).settings.idle_seconds
                reading = tasks.create_task(_read(socket, live, reader, idle))
                await Teller(socket, live).tell()
                reading.cancel()
        finally:
            live.close()


async def _read(socket: WebSocket, live: Live, reader: PcmReader, idle_seconds: float) -> None:
    async for message in messages(socket, idle_seconds, lambda: live.busy):
        if isinstance(message, bytes):
            if message:
                await live.put(reader.read(message))
            else:  # older clients end so
                live.end()
            continue
        kind = parsed(message).get("type")
        if kind == "CloseStream":
            live.end()
        elif kind == "Finalize":
            live.cut()
        elif kind not in ("KeepAlive", "Configure"):
            raise OptionError(f"KeepAlive, Finalize or CloseStream was expected, but {str(kind)[:40]!r} came.")
    live.close()


class Teller:
    """A stream's events in Deepgram's words."""

    def __init__(self, socket: WebSocket, live: Live) -> None:
        query = socket.query_params
        self._socket, self._live = socket, live
        self._id = secrets.token_hex(16)
        self._interim = query.get("interim_results", "false") == "true"
        self._started = query.get("vad_events", "false") == "true"
        self._ends = "utterance_end_ms" in query
        self._speaking = False

    async def tell(self) -> None:
        """All events, and what was heard in the end."""
        async for event in self._live.events():
            if isinstance(event, Cut):
                await self._result((), event.seconds, event.seconds, "", is_final=True, from_finalize=True)
            elif not isinstance(event, Lag):
                await self._tell(event)
        about = _about(self._live.model, self._id)
        duration = round(self._live.seconds, 3)
        await self._socket.send_json(
            {"type": "Metadata", **about, "created": _now(), "duration": duration, "channels": 1}
        )

    async def _tell(self, event: StreamEvent) -> None:
        if event.words and not self._speaking:
            self._speaking = True
            if self._started:
                at = round(event.start, 3)
                await self._socket.send_json({"type": "SpeechStarted", "channel": [0], "timestamp": at})
        final = event.kind == "final"
        if final or self._interim:
            await self._result(
                event.words, event.start, event.end, event.text, is_final=final, speech_final=event.segment_end
            )
        if event.segment_end:
            self._speaking = False
            if self._ends:
                ended = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": round(event.end, 3)}
                await self._socket.send_json(ended)

    async def _result(
        self,
        words: Sequence[Word],
        start: float,
        end: float,
        text: str,
        *,
        is_final: bool,
        speech_final: bool = False,
        from_finalize: bool = False,
    ) -> None:
        await self._socket.send_json(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": round(start, 3),
                "duration": round(end - start, 3),
                "is_final": is_final,
                "speech_final": speech_final,
                "from_finalize": from_finalize,
                "channel": {"alternatives": [_reading(text, words)]},
                "metadata": _about(self._live.model, self._id),
            }
        )


def _reading(text: str, words: Sequence[Word]) -> dict[str, Any]:
    confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
    return {
        "transcript": text,
        "confidence": round(float(confidence), 4),
        "words": [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(float(word.confidence), 4),
                "punctuated_word": word.text,
            }
            for word in words
        ],
    }


def _about(model: ServedModel, request_id: str) -> dict[str, Any]:
    info = {"name": model.name, "version": "1", "arch": model.asr.checkpoint.config.model_type}
    return {
        "request_id": request_id,
        "transaction_key": "none",
        "sha256": "",
        "models": [model.name],
        "model_info": info,
        "model_uuid": model.name,
    }


def _error(error: BaseException) -> dict[str, Any]:
    return {"type": "Error", "description": sentence_of(error), "message": sentence_of(error), "variant": "error"}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
