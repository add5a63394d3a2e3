"""Two processes on this machine that train together, as a launcher would start them."""

from __future__ import annotations

import os
import socket
import subprocess


def launch(arguments: list[str], world: int = 2) -> list[subprocess.Popen[str]]:
    """So many processes of one command, whose standard error can be read; `communicate` with each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    return [
        subprocess.Popen(
            arguments,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
