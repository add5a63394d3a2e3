"""The application: every protocol, the page, and what tells how it fares. `sonant.server.run` listens for it."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sonant import __version__
from sonant.errors import SonantError
from sonant.server import captions, deepgram, huggingface, openai, own, realtime
from sonant.server.access import service_of
from sonant.server.batcher import LeftError
from sonant.server.captions import Captions
from sonant.server.errors import sentence_of, status_of
from sonant.server.guard import Guard
from sonant.server.models import Models
from sonant.server.service import BusyError, Service
from sonant.server.settings import ServerSettings

router = APIRouter(tags=["Server"])
PROTOCOLS = (openai, huggingface, deepgram, own, realtime, captions)
PAGES = {"/": "index.html", "/overlay": "overlay.html", "/docs": "docs.html"}
ROOT_FILES = ("manifest.webmanifest", "sw.js")
"""Files that browsers want at the root."""


def create_app(models: Models, settings: ServerSettings, urls: tuple[str, ...] = ()) -> FastAPI:
    """An ASGI application that serves the models; `app.state.guard` is its door, which Wyoming shares.

    `urls` are the addresses under which it is reached, for the page to show.
    """
    service = Service(models, settings)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of what strangers send

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        service.decoders.start()
        yield
        await service.stop()
        service.close()

    app = FastAPI(
        title="sonant",
        version=__version__,
        description="Speech to text with wav2vec 2.0: files and live audio, by the protocols of several services.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.captions = Captions()
    app.state.urls = urls
    app.state.guard = Guard(app, service)
    for part in (
        router,
        openai.router,
        huggingface.router,
        deepgram.router,
        own.router,
        realtime.router,
        captions.router,
    ):
        app.include_router(part)
    _add_pages(app)
    app.add_api_websocket_route("/{path:path}", _nowhere)
    for kind in (SonantError, LeftError, ClientDisconnect, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _failed)
    return app


@router.get("/healthz", summary="Whether it runs")
async def healthz(request: Request) -> JSONResponse:
    """200 while it takes work, 503 while it stops."""
    stopping = service_of(request).stopping
    return JSONResponse({"status": "stopping" if stopping else "ok", "version": __version__}, 503 if stopping else 200)


@router.get("/metrics", summary="Numbers for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request) -> PlainTextResponse:
    """Counters, gauges and histograms in Prometheus' text format."""
    return PlainTextResponse(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/share", summary="Addresses of this server")
async def share(request: Request) -> dict[str, Any]:
    """Under which addresses others reach it, the best for a phone first, and that one as a QR code in SVG."""
    import io

    import segno

    urls: tuple[str, ...] = request.app.state.urls
    if not urls:
        return {"urls": [], "qr": None}
    token = service_of(request).settings.token
    best = urls[0] + (f"/#token={quote(token, safe='')}" if token else "/")
    drawing = io.BytesIO()
    segno.make(best, error="m").save(
        drawing, kind="svg", border=3, dark="#000", light="#fff", xmldecl=False, omitsize=True
    )
    return {"urls": list(urls), "qr": drawing.getvalue().decode()}


def _add_pages(app: FastAPI) -> None:
    """Serve the files of the page from memory: no path of a client's is ever opened."""
    folder = resources.files("sonant.server") / "web"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    routes = {**PAGES, **{f"/{name}": name for name in ROOT_FILES}}
    routes |= {f"/web/{name}": name for name in files}
    for path, name in routes.items():
        app.add_api_route(path, _giver(name, files[name]), methods=["GET", "HEAD"], include_in_schema=False)


def _giver(name: str, content: bytes) -> Any:
    kinds = {".webmanifest": "application/manifest+json", ".js": "text/javascript", ".svg": "image/svg+xml"}
    suffix = name[name.rindex(".") :]
    kind = kinds.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"

    async def give() -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return give


async def _nowhere(socket: WebSocket) -> None:
    """A websocket where nobody listens."""
    sentence = f"A websocket of this server was expected, but {socket.url.path[:80]!r} is none; /docs lists them."
    body = {"error": {"message": sentence, "type": "invalid_request_error", "param": None, "code": "404"}}
    await socket.send_denial_response(JSONResponse(body, 404))


def _told(request: Request, error: Exception) -> tuple[int, str]:
    """Status and sentence of an error."""
    if isinstance(error, RequestValidationError):
        wrong = error.errors()[0]
        field = ".".join(map(str, wrong["loc"][1:])) or "The body"
        if wrong["type"] == "missing":
            return 400, f"{field} was expected, but is missing; send it as /docs describes it."
        if field == "file":
            return 400, "file must be a file, but text came; send its bytes under a filename."
        return 400, f"{field} is not as it must be ({wrong['msg']}); correct it as /docs describes it."
    if not isinstance(error, HTTPException):
        return status_of(error), sentence_of(error)
    path = request.url.path[:80]
    if error.status_code == 404:
        return 404, f"A path of this server was expected, but {path!r} is none; /docs lists them."
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return 405, f"{path} wants {allowed}, but {request.method} came; /docs lists what it takes."
    return error.status_code, str(error.detail)


async def _failed(request: Request, error: Exception) -> Response:
    """An error in the form of the protocol that was spoken: OpenAI's, Hugging Face's or Deepgram's."""
    status, sentence = _told(request, error)
    headers: dict[str, str] = dict(getattr(error, "headers", None) or {})
    if isinstance(error, BusyError):
        headers["retry-after"] = str(error.retry_after)
    path = request.url.path
    if path == "/v1/listen":
        return JSONResponse({"err_code": str(status), "err_msg": sentence, "request_id": ""}, status, headers)
    if path == "/" or path.startswith(("/models/", "/huggingface")):
        return JSONResponse({"error": sentence}, status, headers)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": sentence, "type": kind, "param": None, "code": str(status)}}
    return JSONResponse(body, status, headers)
