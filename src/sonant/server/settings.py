"""What a server may be told."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass

from sonant.errors import OptionError
from sonant.server.sandbox import DecodeLimits

ORIGIN = re.compile(r"https?://[^/?#\sA-Z]+")
"""As browsers write it: another would never be that of a request."""


@dataclass(frozen=True)
class ServerSettings:
    """Limits and doors of a server; the defaults are for one person on this machine."""

    host: str = "127.0.0.1"
    """The address it listens at."""
    port: int = 8000
    token: str | None = None
    """What a client must show; None lets everybody in."""
    origins: tuple[str, ...] = ()
    """Other pages that may use it, like `https://example.org`; `*` is all."""
    max_requests: int = 32
    """Files that are heard or wait at a time; more are told to come back later."""
    max_streams: int = 16
    """Live streams at a time."""
    max_connections: int = 1000
    """Connections at a time, idle ones too."""
    max_upload: int = 1 << 30
    """Bytes of one file."""
    max_duration: float = 4 * 3600.0
    """Seconds of sound in one file."""
    decode_seconds: int = 120
    """Seconds of processor time that decoding one file may take."""
    decode_memory: int = 2 << 30
    """Bytes of memory that decoding one file may take."""
    idle_seconds: float = 60.0
    """How long a client may send nothing while something of it is waited for."""
    request_seconds: float = 3600.0
    """How long a request may take in all."""
    stop_seconds: float = 60.0
    """How long what runs may take to finish when the server is stopped."""

    def __post_init__(self) -> None:
        if self.token is not None and not (
            self.token.isascii() and self.token.isprintable() and len(self.token.split()) == 1
        ):
            raise OptionError(
                "A token must be of ASCII letters, digits and signs, as headers carry it; choose another."
            )
        counts = ("max_requests", "max_streams", "max_connections", "max_upload", "decode_seconds", "decode_memory")
        for name in (*counts, "max_duration", "idle_seconds", "request_seconds"):
            if not getattr(self, name) > 0:
                raise OptionError(
                    f"{name} must be above 0, but is {getattr(self, name)}; leave it out for its default."
                )
        for origin in self.origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise OptionError(
                    f"An origin must be like https://example.org, in small letters and without a path, but {origin!r} "
                    "came; correct it."
                )

    @property
    def decode_limits(self) -> DecodeLimits:
        return DecodeLimits(self.decode_seconds, self.decode_memory, self.max_duration)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def own_names(settings: ServerSettings) -> set[str]:
    """Names by which this machine may be called, beside its addresses."""
    name = socket.gethostname().lower()
    return {"localhost", settings.host.lower(), name, f"{name.partition('.')[0]}.local", socket.getfqdn().lower()}


def lan_address() -> str | None:
    """This machine's address in its network; None without one. Nothing is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: this only asks for the way there
            address = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if is_loopback(address) else address


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
