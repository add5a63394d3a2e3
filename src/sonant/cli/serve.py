"""`sonant serve`: recognisers over the network, with a page for the browser."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant.cli.options import (
    Debug,
    Device,
    Engine,
    EngineName,
    EnginePrecision,
    Hotwords,
    LanguageModel,
    Lexicon,
    Precision,
    Threads,
    parse_hotword,
)
from sonant.cli.terminal import DONE, reporting, say
from sonant.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from sonant.server.models import Models
    from sonant.server.run import Listening
    from sonant.server.settings import ServerSettings

MEGABYTE = 1 << 20


def run(
    model: Annotated[
        list[str] | None,
        typer.Option(help="A folder, a Hugging Face name or a short one, perhaps with @LANGUAGE; may be repeated."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets others come in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes any.", min=0, max=65535)] = 8000,
    wyoming: Annotated[
        int | None, typer.Option(metavar="PORT", help="Also speak Wyoming, for Home Assistant.", min=0, max=65535)
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="SONANT_TOKEN", help="What every client must show; else all may come.")
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="Encrypt, with a certificate made here.")] = False,
    cert: Annotated[Path | None, typer.Option(help="A certificate (PEM) to encrypt with.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Another page that may use it; may be repeated.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Engines a model on a processor; one for 4 cores.", min=1)] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Hear on a Ray cluster: auto, HOST:PORT.")
    ] = None,
    replicas: Annotated[
        str | None, typer.Option(metavar="N|MIN-MAX", help="Engines a model on the cluster; 1 where not given.")
    ] = None,
    max_streams: Annotated[int, typer.Option(help="Live streams at a time.", min=1)] = 16,
    max_requests: Annotated[int, typer.Option(help="Files at a time, waiting ones too.", min=1)] = 32,
    max_connections: Annotated[int, typer.Option(help="Connections at a time, idle ones too.", min=1)] = 1000,
    max_upload: Annotated[int, typer.Option(metavar="MB", help="Megabytes of one file.", min=1)] = 1024,
    max_duration: Annotated[float, typer.Option(metavar="HOURS", help="Hours of sound in one file.")] = 4.0,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long one request may take.")] = 3600.0,
    idle_timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long a client may say nothing.")] = 60.0,
    lm: LanguageModel = None,
    lexicon: Lexicon = None,
    hotword: Hotwords = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Serve a page for the browser and the protocols of OpenAI, Hugging Face, Deepgram and Wyoming.

    It listens to this machine alone unless --host says otherwise. Ctrl-C lets what runs finish; a second one does not.
    """
    with reporting(debug):
        server = _imported()
        limits = {"max_requests": max_requests, "max_streams": max_streams, "max_connections": max_connections}
        limits["max_upload"] = max_upload * MEGABYTE
        times = {"max_duration": max_duration * 3600, "request_seconds": timeout, "idle_seconds": idle_timeout}
        settings = server.ServerSettings(host, port, token, tuple(allow_origin or ()), **limits, **times)
        certificate = _certificate(https, cert, key)
        _warn(settings, encrypted=certificate is not None)
        options = {"engine": engine, "device": device, "precision": precision, "threads": threads}
        options |= {"lm": lm, "lexicon": lexicon, "hotwords": dict(map(parse_hotword, hotword or []))}
        options["progress"] = sys.stderr.isatty()
        with _opened(server, model or [None], workers, cluster, replicas, port, options) as models:
            server.serve(models, settings, certificate=certificate, wyoming=wyoming, started=_Greeting(settings))
    raise SystemExit(DONE)


@contextmanager
def _opened(
    server: Any,
    sources: list[str] | list[None],
    workers: int | None,
    cluster: str | None,
    replicas: str | None,
    port: int,
    options: dict[str, Any],
) -> Generator[Models]:
    """The models, with engines here or on a cluster."""
    if cluster is None:
        if replicas is not None:
            raise OptionError("--replicas are those of a cluster, but none is named; add --cluster, or take --workers.")
        yield server.load_models(sources, workers=workers, settings=options)
        return
    if workers is not None:
        raise OptionError("--workers are engines of this machine, but --cluster was given too; take --replicas.")
    if cluster.startswith("ray://"):
        raise OptionError(
            f"A server must run on a machine of its cluster, but {cluster} is elsewhere; take auto there."
        )
    from sonant.cluster.connection import connected

    with connected(cluster):
        from sonant.cluster.serving import Replicas, deployed

        wanted = Replicas.parse(replicas or "1")
        say(f"Starting {replicas or 1} engines a model on the cluster at {cluster}.")
        with deployed(sources, wanted, port, options, say) as models:
            yield models


def _warn(settings: ServerSettings, *, encrypted: bool) -> None:
    """Say what others can do, where others can come in."""
    if settings.is_local:
        return
    if settings.token is None:
        say(
            f"Whoever reaches {settings.host} may use this server: it has no token; set one by --token or SONANT_TOKEN."
        )
    if not encrypted:
        say("Browsers give pages of other machines no microphone without encryption; add --https.")


class _Greeting:
    """Says where the server is, once it is there."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings

    def __call__(self, listening: Listening) -> None:
        for url in listening.urls:
            say(f"Listening at {url}/ (Ctrl-C ends it).")
        if listening.wyoming is not None:
            say(f"Wyoming at tcp://{self.settings.host}:{listening.wyoming}.")


def _imported():  # pyright: ignore[reportUnknownParameterType]  # a module-like bundle of what the extra brings
    """The server's parts, or `MissingExtraError` where its extra is not installed."""
    from types import SimpleNamespace

    try:
        from sonant.server.models import load_models
        from sonant.server.run import serve
        from sonant.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sonant"):
            raise
        raise MissingExtraError("The server needs FastAPI and more: pip install 'sonant[serve]'") from None
    return SimpleNamespace(load_models=load_models, serve=serve, ServerSettings=ServerSettings)


def _certificate(https: bool, cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if (cert is None) != (key is None):
        raise OptionError("--cert and --key go together, but only one of them was given; give both, or --https.")
    if cert and key:
        for path in (cert, key):
            if not path.is_file():
                raise OptionError(f"{path} must be a file in PEM, but there is none; check the path.")
        _check_pair(cert, key)
        return cert, key
    if not https:
        return None
    from sonant.server.certificate import own_certificate

    return own_certificate()


def _check_pair(cert: Path, key: Path) -> None:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")  # never asks for one
    except OSError as error:
        raise OptionError(
            f"{cert} and {key} must be a certificate and its key in PEM, the key without a password, but TLS cannot "
            f"use them ({getattr(error, 'reason', None) or error.strerror or error}); check both."
        ) from error
