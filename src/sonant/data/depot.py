"""Shards at URLs, brought to a folder while they are heard, and let go of after.

Disk and traffic hang on the shards that are held, not on how many there are. Processes of one machine share the folder:
the first of them fetches, the others wait for what it brings.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from secrets import token_hex
from threading import Condition
from time import monotonic

from sonant.audio.samples import reason
from sonant.data.manifest import Utterance, split_archive
from sonant.data.remote import fetch, is_url, size_of
from sonant.errors import AudioError, MissingExtraError
from sonant.files import write_text

THREADS = 2
"""Shards that come at the same time."""
TRIES = 5
PATIENCE = 1800.0
"""Seconds that other processes of a machine wait for a shard."""


class Depot:
    """A folder of shards: those that are held come to it, whole or not at all, and no others stay."""

    def __init__(
        self,
        folder: Path,
        leads: bool = True,
        fetch: Callable[[str, Path], None] = fetch,
        pause: float = 1.0,
    ) -> None:
        """`leads` says whether this process fetches; `pause` is how many seconds the first repetition waits."""
        self.folder, self.leads, self.fetch, self.pause = folder, leads, fetch, pause
        self._news = Condition()
        self._held: set[str] = set()
        self._found: dict[str, Path | str] = {}
        """Where each shard lies, or why it is lost."""
        self._pool: ThreadPoolExecutor | None = None

    def hold(self, shards: Sequence[str]) -> None:
        """Bring these shards, in their order, and let go of all others; those that lie on this machine stay there."""
        wanted = [shard for shard in shards if is_url(shard)]
        with self._news:
            if self._held == set(wanted):
                return
            new = [shard for shard in wanted if shard not in self._held]
            gone, self._held = self._held - set(wanted), set(wanted)
            for shard in gone:
                self._found.pop(shard, None)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "shards")
            if self.leads and self.folder.exists():  # what a killed run left
                kept = {self._place(shard).parent.name for shard in wanted}
                for place in self.folder.iterdir():
                    if place.name not in kept:
                        shutil.rmtree(place, ignore_errors=True)
        if self.leads:
            for shard in gone:
                shutil.rmtree(self._place(shard).parent, ignore_errors=True)
        for shard in new:
            self._pool.submit(self._bring if self.leads else self._await, shard)

    def near(self, utterance: Utterance) -> Utterance:
        """The utterance with where its shard lies now, once that has come; `AudioError` where the shard is lost."""
        inside = split_archive(utterance.audio)
        if inside is None or not is_url(inside[0]):
            return utterance
        shard = inside[0]
        with self._news:
            self._news.wait_for(lambda: shard in self._found or self._pool is None)
            found = self._found.get(shard, f"{shard} was let go of.")
        if isinstance(found, str):
            raise AudioError(found)
        return replace(utterance, local=str(found / inside[1]))

    def close(self) -> None:
        """Let go of all shards and of those who wait for them; `hold` opens the depot again."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        with self._news:
            self._held.clear()
            self._found.clear()
            self._news.notify_all()
        pool.shutdown(cancel_futures=True)
        if self.leads:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, shard: str) -> Path:
        """Where a shard lies once it is here: alone in a folder, under its own name."""
        digest = blake2b(shard.encode(errors="surrogateescape"), digest_size=8).hexdigest()
        return self.folder / digest / PurePosixPath(shard).name

    def _tell(self, shard: str, found: Path | str) -> None:
        with self._news:
            if shard in self._held:
                self._found[shard] = found
                self._news.notify_all()

    def _rest(self, shard: str, seconds: float) -> bool:
        """Wait, but no longer than the shard is held; whether it still is."""
        with self._news:
            return not self._news.wait_for(lambda: shard not in self._held, seconds)

    def _bring(self, shard: str) -> None:
        """Fetch a shard, several times if need be, with longer and longer pauses."""
        place, why = self._place(shard), ""
        partial, lost = place.with_name(f".sonant-{token_hex(8)}.tmp"), place.with_name("lost")
        for attempt in range(TRIES):
            if attempt and not self._rest(shard, self.pause * 2 ** (attempt - 1)):
                return
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                lost.unlink(missing_ok=True)
                if not (place.exists() and place.stat().st_size == size_of(shard)):
                    self.fetch(shard, partial)
                    partial.replace(place)
                if shard not in self._held:
                    shutil.rmtree(place.parent, ignore_errors=True)
                self._tell(shard, place)
            except Exception as error:  # noqa: BLE001  # each store has errors of its own
                why = reason(error)
                partial.unlink(missing_ok=True)
                if isinstance(error, MissingExtraError):
                    break
            else:
                return
        self._tell(shard, f"{shard} must be fetched to be heard, but cannot ({why}); its utterances are left out.")
        if place.parent.is_dir():
            write_text(lost, why)

    def _await(self, shard: str) -> None:
        """Wait until the process that fetches has brought a shard, or given it up."""
        place, began = self._place(shard), monotonic()
        lost, why = place.with_name("lost"), f"not within {PATIENCE:.0f} s"
        while monotonic() - began < PATIENCE:
            if place.exists():
                return self._tell(shard, place)
            if lost.exists():
                why = lost.read_text(encoding="utf-8")
                break
            if not self._rest(shard, 0.05):
                return None
        return self._tell(
            shard, f"{shard} must be fetched to be heard, but cannot ({why}); its utterances are left out."
        )
