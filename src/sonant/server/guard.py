"""The door: who may come in, how much they may bring, and what every answer says to browsers. Plain ASGI."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from sonant.server.service import BusyError, Service
from sonant.server.settings import own_names

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FORM_BYTES = 1 << 20
"""What a form may be larger than the file in it."""
OPEN = {"/", "/overlay", "/docs", "/healthz", "/manifest.webmanifest", "/sw.js", "/openapi.json"}
"""Paths that need no token, beside `/web/`: they tell nothing of anybody."""
OWN_PREFIX, OPENAI_PREFIX = "sonant-token.", "openai-insecure-api-key."
"""How browsers, which can set no header on a websocket, bring a token: ours in base64url, OpenAI's as it is."""
POLICY = "; ".join(
    [
        "default-src 'none'",
        *("script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:", "media-src 'self' blob:"),
        *("font-src 'self'", "connect-src 'self'", "worker-src 'self'", "manifest-src 'self'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    ]
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"geolocation=(), payment=(), usb=()"),
]


class Guard:
    """Lets through what may come in; the others get a sentence and a status."""

    def __init__(self, app: App, service: Service) -> None:
        self._app = app
        self._service = service
        settings = service.settings
        self._names = own_names(settings) | {_host(origin.partition("://")[2]) for origin in settings.origins}
        self._digest = hashlib.sha256(settings.token.encode()).digest() if settings.token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["type"] == "http":
            send = _with_headers(send, self._allowed(headers))
        refusal = self._refusal(scope, headers)
        if refusal:
            await _refuse(scope, receive, send, *refusal)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._http(scope, headers, receive, send)

    async def _http(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _answer(send, 204, b"")
            return
        if scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        settings = self._service.settings
        limit = settings.max_upload + FORM_BYTES
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            await _refuse(scope, receive, send, 413, self._too_large())
            return
        body = _Body(receive, limit, settings.idle_seconds, settings.request_seconds, self._too_large())
        metrics = self._service.metrics

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "unknown")
                metrics.count("sonant_requests_total", path=path, status=str(message["status"]))
            await send(message)

        try:
            with self._service.place():
                await self._app(scope, body, counted)
        except BusyError as error:
            await _refuse(scope, receive, send, 503, str(error), error.retry_after)

    def _too_large(self) -> str:
        return f"A file may have {self._service.settings.max_upload} bytes on this server, but this one is larger."

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Why something may not come in, with the status that says so."""
        host = _host(headers.get("host", ""))
        if host not in self._names and not _is_address(host):
            return 421, "This server does not answer to that name; use its address, or start it with --allow-origin."
        origin = headers.get("origin")
        asks = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if origin is not None and asks and not self._may(origin, headers):
            return 403, "Another page may not use this server; start it with --allow-origin to let it."
        path = scope["path"]
        is_open = scope["type"] == "http" and (path in OPEN or path.startswith("/web/")) and scope["method"] != "POST"
        if is_open or (scope["type"] == "http" and scope["method"] == "OPTIONS"):
            return None
        if self._digest is not None and not self.knows(_tokens(headers)):
            return 401, "A token is needed here; send it as 'Authorization: Bearer TOKEN'."
        return None

    def knows(self, tokens: Iterable[bytes]) -> bool:
        """Whether one of the tokens is the right one, in a time that tells nothing of it."""
        if self._digest is None:
            return True
        digests = [hashlib.sha256(token).digest() for token in tokens]
        equal = [hmac.compare_digest(digest, self._digest) for digest in digests]
        return any(equal)

    def _may(self, origin: str, headers: dict[str, str]) -> bool:
        return self._allowed(headers) is not None or origin.partition("://")[2] == headers.get("host")

    def _allowed(self, headers: dict[str, str]) -> str | None:
        """The foreign origin that is allowed here and has asked."""
        origin, allowed = headers.get("origin"), self._service.settings.origins
        return origin if origin is not None and ("*" in allowed or origin in allowed) else None


class _Body:
    """A request's body, which may neither be too large nor stop coming, nor come for ever."""

    def __init__(self, receive: Receive, limit: int, idle_seconds: float, seconds: float, too_large: str) -> None:
        self._receive = receive
        self._too_large = too_large
        self._left = limit
        self._idle = idle_seconds
        self._latest = asyncio.get_running_loop().time() + seconds
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + self._idle, self._latest)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408, "The rest of the request did not come in time; send it again, or in parts."
            ) from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, self._too_large)
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message


def _tokens(headers: dict[str, str]) -> list[bytes]:
    """Every token that came with a request."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    found = [token.strip()] if scheme.lower() in ("bearer", "token") else []
    offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",")]
    found += [part.removeprefix(OPENAI_PREFIX) for part in offered if part.startswith(OPENAI_PREFIX)]
    if len(offered) == 2 and offered[0] in ("token", "bearer"):  # Deepgram's way
        found.append(offered[1])
    own = [part.removeprefix(OWN_PREFIX) for part in offered if part.startswith(OWN_PREFIX)]
    return [*(token.encode("latin-1") for token in found), *map(_decoded, own)]


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""


def _host(header: str) -> str:
    """A Host header without its port."""
    host = header.lower()
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]


def _is_address(host: str) -> bool:
    """Addresses are safe: no name of a stranger's can be made to lead here."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _with_headers(send: Send, origin: str | None) -> Send:
    added = list(HEADERS)
    if origin is not None:
        added += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin")]
        added += [(b"access-control-allow-headers", b"authorization, content-type")]
        added += [(b"access-control-allow-methods", b"GET, POST"), (b"access-control-expose-headers", b"retry-after")]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


async def _refuse(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, retry_after: int | None = None
) -> None:
    """Answer with an error, in the form that OpenAI's clients read; to a websocket before it is opened."""
    body = json.dumps({"error": {"message": sentence, "type": "error", "param": None, "code": str(status)}}).encode()
    headers = [(b"retry-after", str(retry_after).encode())] if retry_after is not None else []
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if scope["type"] == "http":
        await _answer(send, status, body, headers)
        return
    await receive()  # the wish to connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await _answer(send, status, body, headers, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": sentence[:120]})


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    kind: str = "http.response",
) -> None:
    length = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{kind}.start", "status": status, "headers": [*length, *headers]})
    await send({"type": f"{kind}.body", "body": body})
