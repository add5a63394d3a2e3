"""OpenAI's transcription of files and its list of models, as its clients speak them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import zlib
from collections.abc import AsyncGenerator
from math import log
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from sonant import subtitles
from sonant.errors import OptionError
from sonant.server.access import SmallForms, left, service_of
from sonant.server.errors import sentence_of, status_of
from sonant.server.models import ServedModel
from sonant.server.service import Service, Watch, unless_left
from sonant.types import Segment, Transcript, Word

router = APIRouter(tags=["OpenAI"], route_class=SmallForms)
STARTED = int(time.time())
Form1 = Annotated[str, Form()]


@router.get("/v1/models", summary="The models of this server")
async def models(request: Request) -> dict[str, Any]:
    """Names for `model`; the first is taken where none is named."""
    served = service_of(request).models.by_name.values()
    return {"object": "list", "data": [model_card(model) for model in served]}


@router.get("/v1/models/{name:path}", summary="One model")
async def model(request: Request, name: str) -> dict[str, Any]:
    """What is known of a model."""
    return model_card(service_of(request).models.find(name))


def model_card(model: ServedModel) -> dict[str, Any]:
    """A model as OpenAI describes it, and its languages."""
    owned = {"id": model.name, "object": "model", "created": STARTED, "owned_by": "sonant"}
    return {**owned, "language": model.language, "sample_rate": model.asr.checkpoint.sample_rate}


@router.post("/v1/audio/transcriptions", summary="A file to text", response_model=None)
async def transcriptions(
    request: Request,
    file: Annotated[UploadFile, File(description="Audio or video in any format that FFmpeg decodes.")],
    model: Form1 = "",
    language: Form1 = "",
    prompt: Annotated[str, Form(description="Names and terms to expect, with commas between them.")] = "",
    response_format: Annotated[Literal["json", "text", "srt", "vtt", "verbose_json"], Form()] = "json",
    timestamp_granularities: Annotated[list[str] | None, Form(alias="timestamp_granularities[]")] = None,
    granularities: Annotated[list[str] | None, Form(alias="timestamp_granularities")] = None,
    stream: Annotated[bool, Form()] = False,
) -> Response:
    """As OpenAI's. What stands between the commas of `prompt` is expected, where the model decodes with a beam.

    `temperature` means nothing to these models. `stream=true` sends events: words as they become final, then the whole.
    """
    service = service_of(request)
    wanted = {*(timestamp_granularities or ()), *(granularities or ())}
    if unknown := wanted - {"word", "segment"}:
        raise OptionError(f"timestamp_granularities must be word or segment, but {unknown.pop()[:40]!r} came.")
    served = service.models.find(model, language)
    if stream:
        own = os.fdopen(os.dup(file.file.fileno()), "rb")  # the form's is closed before the events are made
        return StreamingResponse(_events(service, own, served, prompt), media_type="text/event-stream")
    work = service.transcribe(file.file, served, protocol="openai", prompt=prompt)
    transcript = await unless_left(work, left(request))
    return formatted(transcript, response_format, wanted or {"segment"})


def formatted(transcript: Transcript, form: str, granularities: set[str]) -> Response:
    """A transcript as one of OpenAI's formats."""
    if form == "text":
        return PlainTextResponse(subtitles.to_text(transcript))
    if form == "srt":
        return PlainTextResponse(subtitles.render(transcript, ".srt"), media_type="application/x-subrip")
    if form == "vtt":
        return PlainTextResponse(subtitles.render(transcript, ".vtt"), media_type="text/vtt")
    if form == "verbose_json":
        return JSONResponse(verbose(transcript, granularities))
    usage = {"type": "duration", "seconds": round(transcript.duration)}
    return JSONResponse({"text": transcript.text, "usage": usage})


def verbose(transcript: Transcript, granularities: set[str]) -> dict[str, Any]:
    """`verbose_json`: text, and what was asked for of words and segments."""
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language or "",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
    }
    if "segment" in granularities:
        found["segments"] = [_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    if "word" in granularities:
        found["words"] = [_word(word) for word in transcript.words]
    found["usage"] = {"type": "duration", "seconds": round(transcript.duration)}
    return found


def _word(word: Word) -> dict[str, Any]:
    return {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    text = segment.text.encode()
    confidences = [max(word.confidence, 1e-9) for word in segment.words]
    return {
        "id": number,
        "seek": round(segment.start * 100),
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(map(log, confidences)) / len(confidences), 4),
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 3),
        "no_speech_prob": 0.0,
    }


async def _events(service: Service, file: BinaryIO, model: ServedModel, prompt: str) -> AsyncGenerator[str]:
    """Server-sent events: words as they become final, then all of it."""
    loop = asyncio.get_running_loop()
    said: asyncio.Queue[tuple[Word, ...] | None] = asyncio.Queue()

    def tell(words: tuple[Word, ...]) -> None:
        loop.call_soon_threadsafe(said.put_nowait, words)

    watch = Watch(words=tell)
    task = asyncio.create_task(service.transcribe(file, model, protocol="openai", watch=watch, prompt=prompt))
    task.add_done_callback(lambda _: said.put_nowait(None))
    space, between = model.asr.vocabulary.space, ""
    try:
        while words := await said.get():
            delta = between + space.join(word.text for word in words)
            between = space
            yield _event({"type": "transcript.text.delta", "delta": delta})
        transcript = await task
        usage = {"type": "duration", "seconds": round(transcript.duration)}
        yield _event({"type": "transcript.text.done", "text": transcript.text, "usage": usage})
        yield "data: [DONE]\n\n"
    except Exception as error:  # the answer has begun: it can only be told in it
        if status_of(error) == 500:
            logging.getLogger(__name__).exception("A transcription failed.")
        yield _event({"type": "error", "error": {"message": sentence_of(error), "code": "error", "param": None}})
    finally:
        task.cancel()
        file.close()


def _event(message: dict[str, Any]) -> str:
    return f"data: {json.dumps(message, ensure_ascii=False)}\n\n"
