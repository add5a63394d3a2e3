"""Draw web/icon.png of the server after icon.svg beside it, for systems that take no SVG: five bars, corners full."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

SIDE, FINER = 180, 4
"""Points of a side, and samples of each point along a side."""
GROUND, WIDTH = (0x0F, 0x76, 0x6E), 5.0
BARS = ((13, 28, 36), (22.5, 20, 44), (32, 12, 52), (41.5, 22, 42), (51, 29, 35))
"""Where each stands, begins and ends, in the SVG's units, of which there are 64."""
TARGET = Path(__file__).parent.parent / "src" / "sonant" / "server" / "web" / "icon.png"


def drawn() -> np.ndarray:
    """Colours (SIDE, SIDE, 3)."""
    places = (np.arange(SIDE * FINER) + 0.5) * 64 / (SIDE * FINER)
    y, x = places[:, None], places[None, :]
    white = np.zeros((SIDE * FINER, SIDE * FINER), bool)
    for at, top, bottom in BARS:  # their ends are round
        white |= np.hypot(x - at, y - np.clip(y, top, bottom)) <= WIDTH / 2
    share = white.reshape(SIDE, FINER, SIDE, FINER).mean((1, 3))[..., None]
    return np.rint(255 * share + np.array(GROUND) * (1 - share)).astype(np.uint8)


def png(colours: np.ndarray) -> bytes:
    """A file of colours (height, width, 3)."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, _ = colours.shape
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    TARGET.write_bytes(png(drawn()))
