"""`sonant live`: captions of a microphone, a stream or a file while it plays."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import typer

from sonant.cli.options import (
    Beam,
    Debug,
    Device,
    Engine,
    EngineName,
    EnginePrecision,
    Greedy,
    Hotwords,
    Language,
    LanguageModel,
    Lexicon,
    Model,
    Precision,
    Sure,
    Threads,
    decoding_options,
)
from sonant.cli.terminal import DONE, FAILED, load_model, reporting, say
from sonant.errors import OutputError, SonantError

if TYPE_CHECKING:
    from sonant.audio import AudioStream
    from sonant.live import CueMaker, HlsFolder, Relay, SubtitleFile
    from sonant.recognizer import Recognizer
    from sonant.stream import Stream, StreamEvent

T = TypeVar("T")


def run(
    source: Annotated[
        str, typer.Argument(help="mic, mic:NAME, an address (https://, rtmp://, ...m3u8), a file, or - .")
    ],
    model: Model = None,
    output: Annotated[
        list[Path] | None, typer.Option(help="A .srt or .vtt file to grow by whole cues; may be repeated.")
    ] = None,
    hls: Annotated[Path | None, typer.Option(help="A folder for segmented WebVTT and its playlist.")] = None,
    hls_start: Annotated[float, typer.Option(help="The video's own time, in seconds, where the captions begin.")] = 0.0,
    to: Annotated[str | None, typer.Option(help="A websocket (ws://) to send every event to, as JSON.")] = None,
    token: Annotated[str | None, typer.Option(help="What the server of --to wants shown.")] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Read a file no faster than it plays.")] = False,
    patience: Annotated[
        float, typer.Option(help="Seconds without sound after which a lost address is taken to be over.", min=0.0)
    ] = 60.0,
    step: Annotated[float, typer.Option(help="Seconds of new sound after which the model hears again.")] = 0.32,
    window: Annotated[float, typer.Option(help="Seconds that the model hears each time.")] = 8.0,
    margin: Annotated[float, typer.Option(help="Seconds after which letters are final at the latest.")] = 1.0,
    endpoint: Annotated[float, typer.Option(help="Seconds of a pause that ends a segment.")] = 0.8,
    lm: LanguageModel = None,
    lexicon: Lexicon = None,
    hotword: Hotwords = None,
    beam: Beam = None,
    greedy: Greedy = False,
    sure: Sure = None,
    language: Language = None,
    engine: Engine = EngineName.auto,
    device: Device = "auto",
    precision: EnginePrecision = Precision.auto,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Caption live sound: a microphone, an address that FFmpeg can read, or a file.

    Segments are printed as they end; on a terminal the words under way stand below them, lighter until they are final.
    Ctrl-C finishes what was heard and ends.
    """
    with reporting(debug):
        decoding = decoding_options(lm, lexicon, hotword or [], beam, 1, greedy, sure)
        from sonant.audio import open_live

        with ExitStack() as open_things:
            asr = load_model(
                model,
                language=language,
                engine=engine,
                device=device,
                precision=precision,
                threads=threads,
                **decoding,
            )
            stream = asr.stream(step=step, window=window, margin=margin, endpoint=endpoint)
            sound = open_things.enter_context(open_live(source, stream.sample_rate, patience=patience, notice=say))
            sinks = Sinks(asr, open_things, output or [], hls, hls_start, to, token)
            complete = caption(sound, stream, sinks, realtime)
    raise SystemExit(DONE if complete else FAILED)


class Sinks:
    """Where events go."""

    def __init__(
        self,
        asr: Recognizer,
        open_things: ExitStack,
        outputs: list[Path],
        hls: Path | None,
        hls_start: float,
        to: str | None,
        token: str | None,
    ) -> None:
        from sonant import live

        self.cues: CueMaker = live.CueMaker(asr.checkpoint.language)
        self.files: list[SubtitleFile] = [live.SubtitleFile(path) for path in outputs]
        self.folders: list[HlsFolder] = [live.HlsFolder(hls, hls_start)] if hls else []
        self.relay: Relay | None = live.Relay(to, say, token) if to else None
        self.complete = True
        """Whether all could be written."""
        self.screen = open_things.enter_context(screen())
        self._message = live.message_of

    def take(self, events: list[StreamEvent], stream: Stream) -> None:
        """Pass on what a stream has said."""
        for event in events:
            self.screen.show(event)
            if self.relay:
                self.relay.send(self._message(event))
            cues = self.cues.add(event)
            self._each(self.files, lambda file, cues=cues: file.write(cues))
            self._each(self.folders, lambda folder, cues=cues: folder.write(cues))
        since = self.cues.since
        until = stream.final_until if since is None else min(since, stream.final_until)
        self._each(self.folders, lambda folder: folder.advance(until))

    def _each(self, sinks: list[T], work: Callable[[T], None]) -> None:
        """Do it to each; one that cannot be written is told of and left out: the others go on."""
        for sink in list(sinks):
            try:
                work(sink)
            except OutputError as error:
                say(str(error))
                sinks.remove(sink)
                self.complete = False

    def close(self, seconds: float) -> None:
        """End all; the stream lasted so long."""
        self._each(self.files, lambda file: file.close())
        self._each(self.folders, lambda folder: folder.finish(seconds))
        if self.relay:
            self.relay.send({"type": "done", "seconds": round(seconds, 3)})
            self.relay.close()


def caption(sound: AudioStream, stream: Stream, sinks: Sinks, realtime: bool) -> bool:
    """Until the sound ends or the user ends it; whether all of it could be heard, and written."""
    from sonant.live import paced

    complete = True
    with Interrupts() as interrupts:
        blocks = paced(sound, stream.sample_rate) if realtime else iter(sound)
        try:
            while (block := interrupts.next(blocks)) is not None:
                sinks.take(stream.feed(block), stream)
        except SonantError as error:
            say(str(error))
            complete = False
        sinks.take(stream.finish(), stream)
        sinks.close(stream.seconds)
    for warning in sound.warnings:
        say(warning)
    return complete and sinks.complete


class Interrupts:
    """Ctrl-C, or a polite kill, while it waits for sound ends the sound; while words are found, right after that."""

    def __init__(self) -> None:
        self._waiting = self._asked = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def next(self, blocks: Iterator[Any]) -> Any:
        """The next block; None at the end."""
        if self._asked:
            return None
        self._waiting = True
        try:
            return next(blocks, None)
        except KeyboardInterrupt:
            return None
        finally:
            self._waiting = False

    def _handle(self, *_: object) -> None:
        if self._waiting or self._asked:  # a second time, whatever is under way
            raise KeyboardInterrupt
        self._asked = True


class Lines:
    """A line a segment, for whoever reads our output."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def show(self, event: StreamEvent) -> None:
        """Print a segment that has ended."""
        if event.kind == "final":
            self.words += [word.text for word in event.words]
            if event.segment_end:
                print(event.space.join(self.words), flush=True)
                self.words = []


class Terminal(Lines):
    """The same, and below it the segment under way: what is tentative is dim."""

    def __init__(self, live: Any) -> None:
        super().__init__()
        self._live = live

    def show(self, event: StreamEvent) -> None:
        """Print a segment that has ended, or draw the one under way anew."""
        from rich.text import Text

        if event.kind == "final" and event.segment_end:
            ended = event.space.join([*self.words, *(word.text for word in event.words)])
            self._live.update(Text(""))
            self._live.console.print(Text(ended))
            self.words = []
            return
        if event.kind == "final":
            self.words += [word.text for word in event.words]
        said = event.space.join(self.words)
        tail = event.text if event.kind == "partial" else ""
        self._live.update(Text(said + (event.space if said and tail else "")) + Text(tail, style="dim"))


@contextmanager
def screen() -> Generator[Lines]:
    """What shows events on standard output."""
    if not sys.stdout.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        yield Terminal(_Refreshed(live))


class _Refreshed:
    """Draws at once."""

    def __init__(self, live: Any) -> None:
        self._live = live
        self.console = live.console

    def update(self, text: Any) -> None:
        self._live.update(text, refresh=True)
