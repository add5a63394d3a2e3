"""Wyoming over TCP, as Home Assistant and its satellites speak it.

An event is a line of JSON (`type`, `data`, `data_length`, `payload_length`), then so many bytes of JSON and of payload.
A server with a token wants it as `token` in the data of a connection's first event.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any, NamedTuple, cast

from sonant import __version__
from sonant.errors import OptionError, SonantError
from sonant.server.access import first_of, parsed
from sonant.server.batcher import LeftError
from sonant.server.errors import sentence_of, status_of
from sonant.server.guard import Guard
from sonant.server.live import Cut, Lag, Live, PcmReader
from sonant.server.service import Service

LINE_BYTES = 1 << 16
DATA_BYTES, PAYLOAD_BYTES = 1 << 20, 1 << 20
"""More than any client sends at once."""
WIDTHS = {2: "pcm16", 4: "linear32"}


class Event(NamedTuple):
    """One message."""

    type: str
    data: dict[str, Any]
    payload: bytes = b""


class WyomingServer:
    """Listens for Wyoming's clients; each connection may transcribe any number of times."""

    def __init__(self, service: Service, guard: Guard) -> None:
        self._service, self._guard = service, guard
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Take connections from a socket that listens."""
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=LINE_BYTES)

    async def stop(self) -> None:
        """Take no more connections, and end those that there are."""
        if self._server:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            if self._service.stopping or len(self._connections) > 4 * self._service.settings.max_streams:
                raise OptionError("The server takes no more connections now; try again later.")
            await Session(self._service, self._guard, reader, writer).run()
        except* SonantError as errors:
            await _tell(writer, first_of(errors))
        except* (LeftError, OSError, EOFError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()


class Session:
    """One connection."""

    def __init__(
        self, service: Service, guard: Guard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._service, self._guard = service, guard
        self._reader, self._writer = reader, writer
        self._model = service.models.first
        self._known = False
        self._live: Live | None = None
        self._pcm = PcmReader()
        self._telling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Events until the client goes."""
        try:
            while (event := await self._next()) is not None:
                if not self._known:
                    if not self._guard.knows([str(event.data.get("token", "")).encode(errors="replace")]):
                        raise OptionError("A token is needed here; send it as 'token' in the data of the first event.")
                    self._known = True
                await self._take(event)
        finally:
            if self._live:
                self._live.close()
            if self._telling:
                await asyncio.gather(self._telling, return_exceptions=True)

    async def _next(self) -> Event | None:
        """The next event, None at the end; `OptionError` for what is none or takes too long."""
        idle = self._service.settings.idle_seconds
        line = await self._within(self._line(), idle)
        if not line:
            return None
        head = parsed(line.decode(errors="replace"))
        sizes = [head.get(key) or 0 for key in ("data_length", "payload_length")]
        for size, most in zip(sizes, (DATA_BYTES, PAYLOAD_BYTES), strict=True):
            if not isinstance(size, int) or not 0 <= size <= most:
                raise OptionError(f"A length of at most {most} was expected, but {str(size)[:20]} came; send less.")
        more = await self._within(self._reader.readexactly(sizes[0]), idle) if sizes[0] else b""
        payload = await self._within(self._reader.readexactly(sizes[1]), idle) if sizes[1] else b""
        within: object = head.get("data")
        data = cast("dict[str, Any]", within) if isinstance(within, dict) else {}
        if more:
            data = {**data, **parsed(more.decode(errors="replace"))}
        return Event(str(head.get("type")), data, payload)

    async def _line(self) -> bytes:
        try:
            return await self._reader.readline()
        except ValueError as error:  # so asyncio says that it is too long; our own errors are of that kind too
            raise OptionError(
                f"A line of at most {LINE_BYTES} bytes was expected, but a longer one came; send sound as payload."
            ) from error

    async def _within(self, reading: Any, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await reading
        except TimeoutError:
            raise OptionError(f"More was expected for {seconds:g} s, but nothing came; connect again.") from None

    async def _take(self, event: Event) -> None:
        if event.type == "describe":
            await self._send(Event("info", self._info()))
        elif event.type == "ping":
            await self._send(Event("pong", {"text": event.data.get("text")}))
        elif event.type == "transcribe":
            name, language = event.data.get("name"), event.data.get("language")
            self._model = self._service.models.find(
                name if isinstance(name, str) else None, language if isinstance(language, str) else None
            )
        elif event.type == "audio-start":
            await self._open(event.data)
        elif event.type == "audio-chunk":
            if self._live is None:
                await self._open(event.data)
            assert self._live
            await self._live.put(self._pcm.read(event.payload))
        elif event.type == "audio-stop" and self._live and self._telling:
            self._live.end()
            await self._telling
            self._live = self._telling = None

    async def _open(self, form: dict[str, Any]) -> None:
        if self._live and self._telling:  # what came before it was not ended: nobody waits for its words
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
            self._live.close()
        rate, width, channels = form.get("rate", 16_000), form.get("width", 2), form.get("channels", 1)
        if not all(isinstance(value, int) for value in (rate, width, channels)) or width not in WIDTHS:
            raise OptionError("Samples of 2 or 4 bytes were expected, but others were announced; convert them.")
        self._pcm = PcmReader(WIDTHS[width], channels)
        self._live = Live(self._service, self._model, rate, "wyoming")
        self._telling = asyncio.create_task(self._tell(self._live))

    async def _tell(self, live: Live) -> None:
        """Words as they become final, then all of them."""
        language = {"language": live.model.language} if live.model.language else {}
        said: list[str] = []
        async for event in live.events():
            if isinstance(event, Cut | Lag) or event.kind != "final" or not event.words:
                continue
            if not said:
                await self._send(Event("transcript-start", language))
            said.append((event.space if said else "") + event.text)
            await self._send(Event("transcript-chunk", {"text": said[-1]}))
        await self._send(Event("transcript", {"text": "".join(said), **language}))
        if said:
            await self._send(Event("transcript-stop", {}))

    async def _send(self, event: Event) -> None:
        await send(self._writer, event)

    def _info(self) -> dict[str, Any]:
        """What Home Assistant shows of this server."""
        origin = {"attribution": {"name": "sonant", "url": ""}, "installed": True, "version": __version__}
        models = [
            {
                "name": model.name,
                "description": model.name,
                "languages": [model.language or "en"],
                **origin,
            }
            for model in self._service.models.by_name.values()
        ]
        program = {"name": "sonant", "description": "wav2vec 2.0", "models": models, **origin}
        return {"asr": [{**program, "supports_transcript_streaming": True}]}


async def send(writer: asyncio.StreamWriter, event: Event) -> None:
    """Write one event."""
    data = json.dumps(event.data, ensure_ascii=False).encode() if event.data else b""
    head: dict[str, Any] = {"type": event.type, "version": __version__}
    if data:
        head["data_length"] = len(data)
    writer.write(json.dumps(head).encode() + b"\n" + data)
    await writer.drain()


async def _tell(writer: asyncio.StreamWriter, error: BaseException) -> None:
    with suppress(OSError):
        await send(writer, Event("error", {"text": sentence_of(error), "code": str(status_of(error))}))
