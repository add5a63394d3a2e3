"""Our own protocol: `/v1/stream` for live audio, `/v1/transcripts` for files with everything known of them."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from sonant import subtitles
from sonant.errors import OptionError
from sonant.server.access import accept, body_file, left, messages, parsed, service_of, small_body, telling
from sonant.server.captions import Captions, check_channel
from sonant.server.errors import error_message
from sonant.server.live import Cut, Lag, Live, PcmReader, described
from sonant.server.service import Watch, unless_left
from sonant.types import Emissions

router = APIRouter(tags=["sonant"])
LONGEST_PICTURE = 120.0
"""Seconds of emissions that a client may have."""
TRANSCRIPT_BYTES = 64 << 20
"""Of a transcript that becomes subtitles: some fifteen hours with all letters."""
BODY = {"content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}}


@router.post("/v1/transcripts", summary="A file to all that is known of it", openapi_extra={"requestBody": BODY})
async def transcripts(
    request: Request,
    model: Annotated[str, Query()] = "",
    language: Annotated[str, Query()] = "",
    emissions: Annotated[bool, Query(description="Also the probabilities of the first two minutes.")] = False,
) -> JSONResponse:
    """The body is the file. The answer has words and letters with times and confidences, and warnings.

    `emissions` holds `tokens`, `frame_seconds`, `frames` and `data`: base64 of a byte for each frame and token, 255
    being certainty.
    """
    service = service_of(request)
    served = service.models.find(model, language)
    kept: list[Emissions] = []

    def keep(piece: Emissions) -> None:
        if piece.start < LONGEST_PICTURE:
            kept.append(piece)

    async with body_file(request) as file:
        watch = Watch(emissions=keep) if emissions else None
        work = service.transcribe(file, served, protocol="sonant", watch=watch)
        transcript = await unless_left(work, left(request))
    tree = json.loads(subtitles.to_json(transcript))
    if kept:
        tree["emissions"] = _picture(kept)
    return JSONResponse(tree)


def _picture(pieces: list[Emissions]) -> dict[str, Any]:
    rows = np.concatenate([piece.log_probs for piece in pieces])[: round(LONGEST_PICTURE / pieces[0].frame_seconds)]
    data = np.rint(np.exp(rows) * 255).clip(0, 255).astype(np.uint8)
    vocabulary = pieces[0].vocabulary
    return {
        "tokens": list(vocabulary.tokens),
        "blank": vocabulary.blank,
        "frame_seconds": pieces[0].frame_seconds,
        "frames": len(data),
        "data": base64.b64encode(data.tobytes()).decode(),
    }


@router.post("/v1/subtitles", summary="A transcript to a subtitle file", response_model=None)
async def write_subtitles(
    request: Request, form: Annotated[Literal["srt", "vtt", "txt", "json"], Query(alias="format")] = "srt"
) -> Response:
    """The body is a transcript as `/v1/transcripts` gives it; the page makes one of what a stream gave."""
    text = (await small_body(request, TRANSCRIPT_BYTES)).decode(errors="replace")
    service = service_of(request)
    rendered = await service.in_thread(lambda: subtitles.render(subtitles.from_json(text), f".{form}"))
    return PlainTextResponse(rendered)


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Live audio in binary messages, captions as JSON; the page of the server's protocols describes it."""
    await accept(socket)
    async with telling(socket, error_message):
        channel = socket.query_params.get("channel")
        captions: Captions = socket.app.state.captions
        if channel is not None:
            check_channel(channel)
        live, reader = Live.asked_for(socket, "sonant", "pcm16")
        try:
            await socket.send_json({"type": "ready", **_about(live)})
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(_read(socket, live, reader, service_of(socket).settings.idle_seconds))
                async for event in live.events():
                    message = _message(event)
                    if channel is not None and message["type"] in ("partial", "final"):
                        captions.publish(channel, message)
                    await socket.send_json(message)
                reading.cancel()
            await socket.send_json({"type": "done", "seconds": round(live.seconds, 3)})
        finally:
            live.close()


async def _read(socket: WebSocket, live: Live, reader: PcmReader, idle_seconds: float) -> None:
    async for message in messages(socket, idle_seconds, lambda: live.busy):
        if isinstance(message, bytes):
            await live.put(reader.read(message))
            continue
        kind = parsed(message).get("type")
        if kind == "finish":
            live.end()
        elif kind == "flush":
            live.cut()
        elif kind != "ping":
            raise OptionError(f"A message of type finish, flush or ping was expected, but {str(kind)[:40]!r} came.")
    live.close()


def _about(live: Live) -> dict[str, Any]:
    model = live.model
    return {
        "sample_rate": live.sample_rate,
        "model": model.name,
        "language": model.language,
        "space": model.asr.vocabulary.space,
    }


def _message(event: Any) -> dict[str, Any]:
    if isinstance(event, Lag):
        return {"type": "lag", "seconds": round(event.seconds, 1)}
    if isinstance(event, Cut):
        return {"type": "flushed", "seconds": round(event.seconds, 3)}
    words = [described(word) for word in event.words]
    times = {"start": round(event.start, 3), "end": round(event.end, 3)}
    message = {"type": event.kind, "text": event.text, **times, "words": words}
    return message | ({"segment_end": event.segment_end} if event.kind == "final" else {})
