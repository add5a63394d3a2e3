"""Captions of live streams for others that show them: overlays, second screens. Nothing is kept."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from typing import Any

from fastapi import APIRouter, WebSocket

from sonant.errors import OptionError
from sonant.server.access import accept, messages, parsed, service_of, telling
from sonant.server.errors import error_message
from sonant.server.service import BusyError

router = APIRouter()
CHANNEL = re.compile(r"[\w.-]{1,64}")
CAPTION_BYTES = 65_536
CAPTIONS_WAITING = 256
"""Events that may wait for a reader of captions before it is sent away."""
PUBLISHER_SECONDS, READER_SECONDS = 3600.0, 86_400.0
"""How long either may say nothing."""
PASSED_ON = ("type", "text", "start", "end", "words", "segment_end", "seconds")


class Captions:
    """Messages of live streams to whoever reads them, by the name of a channel."""

    def __init__(self) -> None:
        self._readers: dict[str, set[asyncio.Queue[dict[str, Any]]]] = defaultdict(set)

    def publish(self, channel: str, message: dict[str, Any]) -> None:
        """Give a message to all who read the channel; who does not keep up loses its place."""
        for queue in list(self._readers.get(channel, ())):
            if queue.full():
                self.leave(channel, queue)
                queue.get_nowait()
                queue.put_nowait({"type": "error", "code": 408, "message": "You read too slowly; connect again."})
            else:
                queue.put_nowait(message)

    def join(self, channel: str) -> asyncio.Queue[dict[str, Any]]:
        """A queue of the channel's messages from now on."""
        queue = asyncio.Queue[dict[str, Any]](CAPTIONS_WAITING)
        self._readers[channel].add(queue)
        return queue

    def leave(self, channel: str, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """End what `join` began."""
        self._readers[channel].discard(queue)
        if not self._readers[channel]:
            del self._readers[channel]

    def __len__(self) -> int:
        return sum(map(len, self._readers.values()))


def check_channel(name: str) -> None:
    """Raise `OptionError` for what cannot name a channel."""
    if not CHANNEL.fullmatch(name):
        raise OptionError("A channel is named by up to 64 letters, digits, dots and dashes; choose such a name.")


@router.websocket("/v1/captions")
async def captions(socket: WebSocket) -> None:
    """The captions of a channel: to show them, or with `publish=1` to send them (events as `/v1/stream` gives)."""
    await accept(socket)
    async with telling(socket, error_message):
        service, relay = service_of(socket), socket.app.state.captions
        channel = socket.query_params.get("channel", "main")
        check_channel(channel)
        if socket.query_params.get("publish"):
            async for message in messages(socket, PUBLISHER_SECONDS):
                relay.publish(channel, _caption(message))
            return
        if len(relay) >= 4 * service.settings.max_streams:
            raise BusyError("As many read captions as the server lets; try again later.", 30)
        queue = relay.join(channel)
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(_send_captions(socket, queue))
                async for message in messages(socket, READER_SECONDS):
                    if isinstance(message, str) and parsed(message).get("type") in ("partial", "final"):
                        raise OptionError("Captions are read here, but some came; add publish=1 to send them.")
                sending.cancel()
        finally:
            relay.leave(channel, queue)


async def _send_captions(socket: WebSocket, queue: asyncio.Queue[dict[str, Any]]) -> None:
    while True:
        message = await queue.get()
        await socket.send_json(message)
        if message.get("type") == "error":
            await socket.close(1008)


def _caption(message: bytes | str) -> dict[str, Any]:
    """A message to pass on, with nothing in it but what captions have."""
    if isinstance(message, bytes):
        raise OptionError("Captions were expected as text, but bytes came; send JSON in text messages.")
    if len(message) > CAPTION_BYTES:
        raise OptionError(f"Captions of at most {CAPTION_BYTES} characters were expected; send them one by one.")
    tree = parsed(message)
    if tree.get("type") not in ("partial", "final", "done", "lag"):
        raise OptionError("A message of type partial, final, lag or done was expected; see /v1/stream.")
    return {key: tree[key] for key in PASSED_ON if key in tree}
