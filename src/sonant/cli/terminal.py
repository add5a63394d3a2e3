"""What all verbs share: errors as one sentence, exit codes, and a progress bar in audio time."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sonant.errors import OptionError, SonantError
from sonant.files import cache_folder

if TYPE_CHECKING:
    import io

    from sonant.recognizer import Recognizer
    from sonant.types import Progress

DONE, FAILED, USAGE = 0, 1, 2
"""Exit codes: all done; some inputs failed, each named; wrong usage or no model."""
QUIET_SECONDS = 2.0
"""Work shorter than this shows no bar."""


def say(message: str) -> None:
    """One line on stderr, where messages go."""
    print(f"sonant: {message}", file=sys.stderr)


@contextmanager
def reporting(debug: bool) -> Generator[None]:
    """Ends the command with one sentence where a `SonantError` comes, with its traceback under `--debug`."""
    out = cast("io.TextIOWrapper[Any]", sys.stdout)
    if getattr(out, "errors", None) == "strict" and hasattr(out, "reconfigure"):
        out.reconfigure(errors="backslashreplace")  # a file's name may hold bytes that are no text
    try:
        yield
        print(end="", flush=True)  # a full disk may say so only now
    except SonantError as error:
        if debug:
            raise
        say(str(error))
        raise SystemExit(USAGE) from None
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        _drop_output()
        raise SystemExit(FAILED) from None
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _drop_output()
        say(f"Standard output could not be written ({error.strerror}); make room, or choose another place.")
        raise SystemExit(FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def result_names(files: Iterable[str]) -> dict[str, str]:
    """What each input's result is called: `talk`, or `talk.mp3` beside a `talk.wav`; `OptionError` where two are."""
    paths = {file: Path("stdin" if file == "-" else file) for file in files}
    stems = Counter(path.stem for path in paths.values())
    names = {file: path.stem if stems[path.stem] == 1 else path.name for file, path in paths.items()}
    for name, count in Counter(names.values()).items():
        if count > 1:
            raise OptionError(
                f"Each input must have a name of its own, but {count} results would be called {name}; "
                "name the inputs in separate commands, with outputs of their own."
            )
    return names


def _drop_output() -> None:
    """Lead standard output away, lest the interpreter complain of it while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_once(key: str, message: str) -> None:
    """A line for the first time only; the cache folder remembers."""
    marker = cache_folder() / "said" / key
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    except OSError:
        pass  # a cache that cannot be written means the line comes again
    say(message)


def load_model(model: str | None, **options: Any) -> Recognizer:
    """The model that a verb takes, options as `sonant.load` has them: bars for waits, its note said once."""
    from sonant.recognizer import load

    with millions_bar("language model") as bar:
        asr = load(model, progress=sys.stderr.isatty(), lm_progress=bar, **options)
    if asr.checkpoint.note:
        say_once(asr.checkpoint.name.replace("/", "--"), asr.checkpoint.note)
    return asr


class ProgressBar:
    """What is done, speed and time left on stderr, once the work lasts; nothing where stderr is no terminal."""

    def __init__(self, name: str, unit: str | None = None) -> None:
        self.name = name
        self.unit = unit
        """What is counted (`files`); None for seconds of audio."""
        self.began = time.monotonic()
        self.bar = None

    def __call__(self, done: float, total: float | None) -> None:
        """Show that `done` of `total` seconds of audio, or whatever the unit is, are through."""
        elapsed = time.monotonic() - self.began
        if elapsed < QUIET_SECONDS or not sys.stderr.isatty():
            return
        if self.bar is None:
            self.bar, self.task = _open_bar(self.name)
        # a container may declare less than it holds
        total = max(total, done) if total else None
        left = clock((total - done) * elapsed / done) + " left" if total and done else ""
        self.bar.update(
            self.task,
            completed=done,
            total=total,
            audio=f"{done:.0f} {self.unit}" if self.unit else clock(done),
            speed=f"{done / elapsed:.0f}/s" if self.unit else f"{done / elapsed:.1f}x real time",
            left=left,
        )

    def rename(self, name: str) -> None:
        """Say something else at its beginning."""
        self.name = name
        if self.bar:
            self.bar.update(self.task, name=name)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()
            self.bar = None


@contextmanager
def millions_bar(name: str) -> Generator[Progress]:
    """A bar that is told bytes, or steps, and shows millions of them; its clock starts with the first."""
    bars: list[ProgressBar] = []

    def show(done: float, total: float | None) -> None:
        bars[:] = bars or [ProgressBar(name, "M")]
        bars[0](done / 1e6, total and total / 1e6)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


def _open_bar(name: str):  # pyright: ignore[reportUnknownParameterType]
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = [TextColumn("{task.fields[name]}", markup=False), BarColumn()]
    columns += [TextColumn(f"{{task.fields[{field}]}}") for field in ("audio", "speed", "left")]
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.start()
    return bar, bar.add_task("", name=name, audio="", speed="", left="")


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
