"""Listens: one process, its limits on connections, TLS, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sonant.errors import OptionError
from sonant.server.app import create_app
from sonant.server.models import Models
from sonant.server.service import Service
from sonant.server.settings import ServerSettings, is_loopback, lan_address
from sonant.server.wyoming import WyomingServer

HEAD_SECONDS = 20.0
"""How long a connection may take to send the head of a request, or the rest of what was refused."""
DEAD_SECONDS = 120
"""After which a connection is given up on whose client acknowledges nothing, or takes nothing of what it is sent."""
SENTENCE = b"The server has as many connections as it may; try again later.\n"
REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(SENTENCE), SENTENCE)
)
MESSAGE_BYTES = 1 << 20
"""Of one websocket message: thirty seconds of sound."""


@dataclass(frozen=True)
class Listening:
    """Where a server can be reached."""

    urls: tuple[str, ...]
    """The best for others first."""
    wyoming: int | None
    """Port of Wyoming."""


def serve(
    models: Models,
    settings: ServerSettings,
    *,
    certificate: tuple[Path, Path] | None = None,
    wyoming: int | None = None,
    started: Callable[[Listening], None] = lambda _: None,
) -> None:
    """Serve until a signal says to stop; then finish what runs, within `settings.stop_seconds`.

    `certificate` is the paths of a certificate and its key. Raises `OptionError` for an address that cannot be had.
    """
    with ExitStack() as stack:  # closes what listens whatever comes between
        listener = stack.enter_context(_bound(settings.host, settings.port, "--port"))
        other = None if wyoming is None else stack.enter_context(_bound(settings.host, wyoming, "--wyoming"))
        _serve_at(listener, other, models, settings, certificate, started)


def _serve_at(
    listener: socket.socket,
    other: socket.socket | None,
    models: Models,
    settings: ServerSettings,
    certificate: tuple[Path, Path] | None,
    started: Callable[[Listening], None],
) -> None:
    """The same for what is bound; `other` is Wyoming's."""
    port = int(listener.getsockname()[1])
    urls = addresses(settings.host, port, secure=certificate is not None)
    app = create_app(models, settings, urls)
    config = uvicorn.Config(
        app.state.guard,
        http=_protocol(settings.max_connections),
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=30.0,
        ws_ping_timeout=120.0,  # while too much waits nothing is read, not even answers to pings
        ws_per_message_deflate=False,
        timeout_keep_alive=20,
        access_log=False,
        log_level="warning",
        server_header=False,
        lifespan="on",
        ssl_certfile=str(certificate[0]) if certificate else None,
        ssl_keyfile=str(certificate[1]) if certificate else None,
    )
    server = _Server(config, app.state.service)
    logging.getLogger("uvicorn.error").addFilter(server.is_told)
    _raise_limit(settings.max_connections)
    here = Listening(urls, None if other is None else int(other.getsockname()[1]))
    server.on_start = lambda: started(here)
    asyncio.run(_serve(server, listener, WyomingServer(app.state.service, app.state.guard), other))


async def _serve(
    server: _Server, listener: socket.socket, wyoming: WyomingServer, wyoming_listener: socket.socket | None
) -> None:
    if wyoming_listener:
        await wyoming.start(wyoming_listener)
    # uvicorn raises the signals that it caught once more when it has ended: by then they mean nothing
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        await server.serve([listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        await wyoming.stop()


def _ignore(_number: int, _frame: object) -> None:
    pass


class _Server(uvicorn.Server):
    """Lets streams and requests finish before it takes the connections down; a second signal does not wait."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self.on_start: Callable[[], None] = lambda: None

    def is_told(self, record: logging.LogRecord) -> bool:
        """Whether the log is to have it: not what a second signal breaks off, nor websockets that were refused."""
        return not (self.force_exit or "without completing handshake" in record.getMessage())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        deadline = self.service.settings.stop_seconds + asyncio.get_running_loop().time()
        stopping = asyncio.create_task(self.service.stop())
        while not stopping.done() and not self.force_exit:
            await asyncio.sleep(0.05)
        # answers that slow clients have not yet read
        self.config.timeout_graceful_shutdown = max(2, int(deadline - asyncio.get_running_loop().time()))
        await super().shutdown(sockets)


def _protocol(most: int) -> type[H11Protocol]:
    """HTTP as uvicorn speaks it, with a limit on connections and on how long one may say nothing at its beginning."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.silence: asyncio.TimerHandle | None = self.loop.call_later(HEAD_SECONDS, transport.close)
            self.refused = len(self.connections) > most  # websockets are among them
            if self.refused:
                transport.write(REFUSED)
                transport.close()

        def data_received(self, data: bytes) -> None:
            if self.refused:
                return
            super().data_received(data)
            if self.transport.get_protocol() is not self:  # it has become a websocket
                return
            if self.cycle and not self.cycle.response_complete:
                self._heard()
            elif self.silence is None:  # in the midst of a head, or of a body that nobody wants any more
                self.silence = self.loop.call_later(HEAD_SECONDS, self.transport.close)

        def on_response_complete(self) -> None:
            self._heard()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._heard()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._heard()
            super().handle_websocket_upgrade(event)

        def _heard(self) -> None:
            if self.silence:
                self.silence.cancel()
            self.silence = None

    return Protocol


def _bound(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _give_up_the_dead(listener)
        listener.bind((host, port))
        listener.listen(1024)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        advice = {
            errno.EADDRINUSE: f"choose another {option}, or end what uses it",
            errno.EACCES: f"choose another {option}, above 1023",
        }.get(error.errno or 0, "pass an address of this machine as --host")
        raise OptionError(f"The server cannot listen at {host}:{port} ({error.strerror}); {advice}.") from error
    return listener


def _give_up_the_dead(listener: socket.socket) -> None:
    """End connections whose clients have vanished without a word, or read nothing: those of a listener inherit it."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", DEAD_SECONDS), ("TCP_USER_TIMEOUT", 1000 * DEAD_SECONDS)):
        if hasattr(socket, name):  # not everywhere
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def addresses(host: str, port: int, *, secure: bool) -> tuple[str, ...]:
    """Under which addresses a server at `host` is reached, the best for others first."""
    scheme = "https" if secure else "http"
    if is_loopback(host):
        return (f"{scheme}://{'localhost' if host == 'localhost' else _written(host)}:{port}",)
    if host not in ("0.0.0.0", "::", ""):
        return (f"{scheme}://{_written(host)}:{port}",)
    lan = lan_address()
    here = f"{scheme}://localhost:{port}"
    return (f"{scheme}://{lan}:{port}", here) if lan else (here,)


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _raise_limit(connections: int) -> None:
    """Let this process have as many files open as connections and more, where the system allows."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
