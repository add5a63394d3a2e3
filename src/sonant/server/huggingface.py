"""Hugging Face's automatic speech recognition: a file's bytes, or JSON with base64, to text and chunks."""

from __future__ import annotations

import json
import tempfile
from typing import Any, BinaryIO, cast

from fastapi import APIRouter, Request

from sonant.errors import OptionError
from sonant.server.access import body_file, left, parsed, service_of
from sonant.server.live import from_base64
from sonant.server.models import ServedModel
from sonant.server.service import unless_left
from sonant.types import Transcript

router = APIRouter(tags=["Hugging Face"])
JSON_BYTES = 64 << 20
"""Of a body in JSON, which is held in memory."""
BODY = {"content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}, "application/json": {}}}


@router.post("/", summary="A file to text", openapi_extra={"requestBody": BODY})
@router.post("/huggingface", include_in_schema=False)
async def first_model(request: Request) -> dict[str, Any]:
    """As Hugging Face's inference endpoints: raw audio, or `{"inputs": "<base64>", "parameters": {...}}`."""
    return await _answer(request, service_of(request).models.first)


@router.post("/models/{name:path}", summary="A file to text, by a model", openapi_extra={"requestBody": BODY})
@router.post("/huggingface/models/{name:path}", include_in_schema=False)
async def named_model(request: Request, name: str) -> dict[str, Any]:
    """As Hugging Face's inference API."""
    return await _answer(request, service_of(request).models.find(name))


async def _answer(request: Request, model: ServedModel) -> dict[str, Any]:
    async with body_file(request) as file:
        parameters: dict[str, Any] = {}
        if "json" in request.headers.get("content-type", ""):
            file, parameters = await service_of(request).in_thread(_unpacked, file)
        with file:
            work = service_of(request).transcribe(file, model, protocol="huggingface")
            return answer(await unless_left(work, left(request)), parameters.get("return_timestamps"))


def _unpacked(body: BinaryIO) -> tuple[BinaryIO, dict[str, Any]]:
    """The file in a JSON body, and the parameters beside it."""
    body.seek(0)
    text = body.read(JSON_BYTES + 1)
    if len(text) > JSON_BYTES:
        raise OptionError(f"A file in JSON may have {JSON_BYTES} bytes, but it is larger; send the file's own bytes.")
    tree = parsed(text.decode(errors="replace"))
    parameters: object = tree.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise OptionError(f"parameters must be a JSON object, but are {json.dumps(parameters)[:40]}; correct them.")
    audio = from_base64(tree.get("inputs"))
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # the caller closes it
    file.write(audio)
    return file, cast("dict[str, Any]", parameters)


def answer(transcript: Transcript, timestamps: object) -> dict[str, Any]:
    """Text and, where times are asked for (true, `word`, `char`), chunks: segments, words or letters."""
    if not timestamps:
        return {"text": transcript.text}
    if timestamps == "char":
        parts = [(letter.text, letter.start, letter.end) for word in transcript.words for letter in word.letters]
    elif timestamps == "word":
        parts = [(word.text, word.start, word.end) for word in transcript.words]
    else:
        parts = [(segment.text, segment.start, segment.end) for segment in transcript.segments]
    chunks = [{"text": text, "timestamp": [round(start, 3), round(end, 3)]} for text, start, end in parts]
    return {"text": transcript.text, "chunks": chunks}
