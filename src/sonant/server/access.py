"""Small things that all protocols over HTTP and websockets need."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, BinaryIO, cast

from fastapi import Request, Response, WebSocket
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect, WebSocketState

from sonant.errors import OptionError, SonantError
from sonant.server.batcher import LeftError
from sonant.server.errors import status_of
from sonant.server.service import BusyError, Service

SUBPROTOCOLS = ("sonant", "realtime", "token", "bearer")
"""What we answer to websockets that offer several; never a token."""
CLOSED = 1000
BUSY, STOPPED = 1013, 1012
"""Websocket codes: come back later, and the server is stopping."""
FORM_FIELDS, FIELD_BYTES = 50, 1 << 16
"""Fields of one form beside its file, and bytes of each."""


def service_of(connection: HTTPConnection) -> Service:
    """The service of the application that serves a request."""
    return cast(Service, connection.app.state.service)


async def small_body(request: Request, most: int) -> bytes:
    """The body of a request that is held in memory; `OptionError` for more than `most` bytes."""
    held = bytearray()
    async for piece in request.stream():
        held += piece
        if len(held) > most:
            raise OptionError(f"A body of at most {most} bytes was expected, but a larger one came; send it in parts.")
    return bytes(held)


class SmallForms(APIRoute):
    """Takes forms of one file and few fields: the file lies on the disk, but fields are held in memory."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI wants it."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(_LimitedRequest(request.scope, request.receive))

        return limited


class _LimitedRequest(Request):
    def form(self, **_: Any) -> Any:
        return super().form(max_files=1, max_fields=FORM_FIELDS, max_part_size=FIELD_BYTES)


@asynccontextmanager
async def body_file(request: Request) -> AsyncGenerator[BinaryIO]:
    """The raw body of a request as a file without a name, gone with the block."""
    with tempfile.TemporaryFile() as file:
        async for piece in request.stream():
            if piece:
                await asyncio.to_thread(file.write, piece)
        yield file


async def left(request: Request) -> None:
    """Returns once the client of a request that has been read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def accept(socket: WebSocket) -> None:
    """Open a websocket with the first subprotocol that we may name."""
    offered = cast("list[str]", socket.scope.get("subprotocols", []))
    await socket.accept(next((name for name in offered if name in SUBPROTOCOLS), None))


async def messages(
    socket: WebSocket, idle_seconds: float, busy: Callable[[], bool] = lambda: False
) -> AsyncGenerator[bytes | str]:
    """What a client sends until it goes; `OptionError` where it sends nothing for too long while we are not `busy`."""
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                message = await socket.receive()
        except TimeoutError:
            if busy():
                continue
            raise OptionError(
                f"Something was expected of this stream for {idle_seconds:g} s, but nothing came; open another one."
            ) from None
        if message["type"] == "websocket.disconnect":
            return
        data, text = message.get("bytes"), message.get("text")
        yield data if data is not None else text or ""


def parsed(text: str) -> dict[str, Any]:
    """A message in JSON; `OptionError` for what is no object."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError("A message in JSON was expected, but something else came; see the protocol.") from error
    if not isinstance(tree, dict):
        raise OptionError("A message that is a JSON object was expected, but another value came; see the protocol.")
    return cast("dict[str, Any]", tree)


def number(text: str | None, name: str, default: int) -> int:
    """A whole number of a query; `OptionError` for another value."""
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise OptionError(f"{name} must be a whole number, but {text[:40]!r} came; correct it.")
    return int(text)


@asynccontextmanager
async def telling(socket: WebSocket, message: Callable[[BaseException], dict[str, Any]]) -> AsyncGenerator[None]:
    """Tell a websocket's client what went wrong in the block, and close it; a client that has gone is nothing."""
    code = CLOSED
    try:
        yield
    except* (LeftError, WebSocketDisconnect):
        pass
    except* SonantError as errors:
        error = first_of(errors)
        code = BUSY if isinstance(error, BusyError) else 1008 if status_of(error) < 500 else 1011
        await _tell(socket, message(error))
    except* (RuntimeError, OSError) as errors:  # sending to one that has gone
        if socket.client_state is WebSocketState.CONNECTED and socket.application_state is WebSocketState.CONNECTED:
            raise first_of(errors) from None
    if service_of(socket).stopping and code == CLOSED:
        code = STOPPED
    if socket.client_state is WebSocketState.CONNECTED and socket.application_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError, OSError, WebSocketDisconnect):
            await socket.close(code)


async def _tell(socket: WebSocket, message: dict[str, Any]) -> None:
    with suppress(RuntimeError, OSError, WebSocketDisconnect):
        await socket.send_json(message)


def first_of(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first error in a group of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseException", error.exceptions[0])
    return error
