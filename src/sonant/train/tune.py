"""The weights of a beam search, found on speech whose text is known.

Each trial decodes all utterances: n-best lists would be faster, but hold what other weights thought likely, and to
decode kept emissions takes seconds for an hour of speech. The first half of the trials is spread evenly over the
whole space, the others over ever smaller boxes around the best so far. The error rate of a few hundred utterances is
rough, so a trial is judged with its neighbours, lest the luckiest win.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonant.data.manifest import Utterance
from sonant.decode.beam import BeamDecoder, BeamSettings
from sonant.decode.greedy import GreedyDecoder
from sonant.decode.priors import token_priors
from sonant.errors import DataError, OptionError
from sonant.train.evaluate import fields_of
from sonant.train.scores import Evaluation, Normalisation, Scored
from sonant.types import Emissions, Progress

SPACE = {
    "lm_weight": (0.0, 2.5),
    "word_bonus": (-2.0, 4.0),
    "unknown_penalty": (0.0, 15.0),
    "prior_weight": (0.0, 0.8),
}
"""Where the first trials lie; the others may leave it, but for what is no weight or penalty below 0."""
BOXES = (0.2, 0.1, 0.05)
"""Half the width of the boxes that follow, as a part of the space."""
NEIGHBOURS = 0.1
"""How far the neighbours reach that a trial is judged with, as a part of the space: the width of a Gaussian."""
ALIKE = 1.001
"""Times the fewest errors up to which trials are alike."""
FOLDS = 5
LADDER = ((10, 8.0), (20, 8.0), (30, 10.0), (100, 12.0), (100, 16.0), (300, 18.0), (1000, 22.0))
"""Beam sizes and score thresholds, from fast to thorough."""
MORE_ERRORS = 1.01
"""A faster beam may make so many times the errors of the best one."""
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Trial:
    """Some weights, and the errors they make in each utterance."""

    weights: Values
    errors: NDArray[np.float64]
    """(N,), words or letters."""


@dataclass(frozen=True)
class Rung:
    """A beam with the weights that were chosen."""

    beam_size: int
    score_threshold: float
    rate: float
    """Error rate over all utterances."""
    speed: float
    """Seconds of audio a second of one processor."""


@dataclass(frozen=True)
class Tuning:
    """What was found, and what it is worth."""

    settings: dict[str, float | int | bool | None]
    """All that makes a `BeamDecoder` of the same words, model and `priors` decode like this."""
    priors: Mapping[str, float]
    """How often the model writes each token: what `prior_weight` weighs."""
    greedy: Evaluation
    before: Evaluation
    """The search with the weights it came with."""
    after: Evaluation
    held_out: float
    """Error rate of weights chosen without the utterances they are judged on: what unheard speech may expect."""
    unit: str
    """Whose errors were counted: `word`, or `letter` where no spaces are written."""
    trials: tuple[Trial, ...]
    ladder: tuple[Rung, ...]
    """Empty where the beam was given."""


class Tuner:
    """Trials of one decoder on kept emissions."""

    def __init__(
        self,
        decoder: BeamDecoder,
        utterances: Sequence[Utterance],
        emissions: Sequence[Emissions],
        *,
        normalisation: Normalisation | None = None,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.utterances, self.emissions = utterances, emissions
        self.decoder = decoder.reweighed(priors=token_priors(emissions))
        self.normalisation = normalisation or Normalisation()
        self.threads, self.seed = threads, seed
        self.unit = "word" if decoder.vocabulary.space else "letter"
        self.said = [self.normalisation(utterance.text or "") for utterance in utterances]
        self.known: dict[tuple[int, str], Scored] = {}
        lengths = [len(said.split()) if self.unit == "word" else len(said) for said in self.said]
        self.length = sum(lengths)
        self.lengths = np.array(lengths, float)
        if not self.length:
            raise DataError(
                "Weights are found on speech with words, but the manifest's texts have none; add what is said."
            )

    def tune(
        self, trials: int = 60, *, closed: bool = False, ladder: bool = True, progress: Progress | None = None
    ) -> Tuning:
        """Try weights, choose, and judge the choice; all as a `Tuning`.

        `closed` hears words of the lexicon alone. Without `ladder` the decoder's beam stays as it is. `progress` is
        told the trials done, and how many there are. Raises `OptionError` for fewer than 10 trials.
        """
        if trials < 10:
            raise OptionError(f"There must be at least 10 trials, but {trials} were asked for; 60 is a good number.")
        names = [name for name in SPACE if not (closed and name == "unknown_penalty")]
        fixed: dict[str, Any] = {"unknown_penalty": None} if closed else {}
        done: list[Trial] = []
        for points in self._rounds(names, trials, done):
            for point in points:
                weights = dict(zip(names, (round(float(value), 4) for value in point), strict=True)) | fixed
                done.append(Trial(weights, self._errors(self.decoder.reweighed(**weights))))
                if progress:
                    progress(len(done), trials)
        best = dict(done[_choose(done, names)].weights)
        rungs = self._climb(best) if ladder else ()
        chosen = self.decoder.reweighed(**best, **_beam_of(rungs))
        return Tuning(
            settings={**self._given(), **best, **_beam_of(rungs)},
            priors=self.decoder.priors or {},
            greedy=self._evaluate("greedy", GreedyDecoder()),
            before=self._evaluate("before", self.decoder),
            after=self._evaluate("after", chosen),
            held_out=self._held_out(done, names),
            unit=self.unit,
            trials=tuple(done),
            ladder=rungs,
        )

    def _rounds(self, names: list[str], trials: int, done: list[Trial]) -> Iterator[NDArray[np.float64]]:
        """Points (n, D) of each round; what the trials `done` say by then decides where the next ones lie."""
        low, high = (np.array([SPACE[name][i] for name in names]) for i in (0, 1))
        least = np.array([-np.inf if name == "word_bonus" else 0.0 for name in names])
        wide = trials - len(BOXES) * (trials // (2 * len(BOXES)))
        yield low + (high - low) * _even(wide, len(names))
        for box in BOXES:
            center = _point(done[_choose(done, names)], names)
            spread = (2 * _even(trials // (2 * len(BOXES)), len(names)) - 1) * box * (high - low)
            yield np.maximum(center + spread, least)

    def _texts(self, decoder: BeamDecoder | GreedyDecoder) -> list[str]:
        if isinstance(decoder, BeamDecoder):
            return [found[0].text for found in decoder.decode_many(self.emissions, self.threads)]
        return [decoder.decode(emissions)[0].text for emissions in self.emissions]

    def _scored(self, i: int, text: str) -> Scored:
        """An utterance beside a text; most trials write what another has written."""
        if (i, text) not in self.known:
            utterance, heard = self.utterances[i], self.normalisation(text)
            seconds = self.emissions[i].duration
            self.known[i, text] = Scored(i, utterance.name, self.said[i], heard, seconds, fields_of(utterance))
        return self.known[i, text]

    def _errors(self, decoder: BeamDecoder) -> NDArray[np.float64]:
        scored = [self._scored(i, text) for i, text in enumerate(self._texts(decoder))]
        return np.array([(s.words if self.unit == "word" else s.letters).total for s in scored], float)

    def _evaluate(self, name: str, decoder: BeamDecoder | GreedyDecoder) -> Evaluation:
        scored = tuple(self._scored(i, text) for i, text in enumerate(self._texts(decoder)))
        return Evaluation(name, scored, (), self.normalisation, self.seed)

    def _climb(self, weights: Values) -> tuple[Rung, ...]:
        """The chosen weights with beams from fast to thorough."""
        seconds = sum(emissions.duration for emissions in self.emissions)
        rungs: list[Rung] = []
        for size, threshold in LADDER:
            decoder = self.decoder.reweighed(**weights, beam_size=size, score_threshold=threshold)
            began = time.process_time()
            texts = self._texts(decoder)
            spent = max(time.process_time() - began, 1e-6)
            scored = [self._scored(i, text) for i, text in enumerate(texts)]
            errors = sum((s.words if self.unit == "word" else s.letters).total for s in scored)
            rungs.append(Rung(size, threshold, errors / self.length, seconds / spent))
        return tuple(rungs)

    def _given(self) -> dict[str, Any]:
        """What the decoder was made with that is not the default."""
        given, usual = asdict(self.decoder.settings), asdict(BeamSettings())
        return {name: value for name, value in given.items() if value != usual[name] and name != "nbest"}

    def _held_out(self, done: list[Trial], names: list[str]) -> float:
        folds = np.arange(len(self.said)) % min(FOLDS, len(self.said))
        errors = 0.0
        for fold in range(int(folds.max()) + 1):
            rest = folds != fold if folds.max() else folds == 0  # a single utterance has no rest
            errors += done[_choose(done, names, rest)].errors[folds == fold].sum()
        return float(errors / self.length)


def _choose(done: Sequence[Trial], names: list[str], utterances: NDArray[np.bool_] | None = None) -> int:
    """The trial whose neighbourhood makes the fewest errors, in some of the utterances or in all.

    Of those that are alike, the one nearest to the usual weights.
    """
    table = np.array([trial.errors for trial in done])
    errors = (table if utterances is None else table[:, utterances]).sum(1)
    extent = np.array([SPACE[name][1] - SPACE[name][0] for name in names])
    points = np.array([_point(trial, names) for trial in done]) / extent
    squares = ((points[:, None] - points[None]) ** 2).sum(2)
    nearness = np.exp(-squares / (2 * NEIGHBOURS**2))
    judged = nearness @ errors / nearness.sum(1)
    usual = np.array([getattr(BeamSettings(), name) for name in names]) / extent
    equals = np.flatnonzero(judged <= judged.min() * ALIKE)
    return int(equals[np.argmin(((points[equals] - usual) ** 2).sum(1))])


def _point(trial: Trial, names: list[str]) -> NDArray[np.float64]:
    return np.array([trial.weights[name] for name in names], float)


def _beam_of(rungs: Sequence[Rung]) -> dict[str, Any]:
    """The fastest beam that makes hardly more errors than the best."""
    if not rungs:
        return {}
    enough = min(rung.rate for rung in rungs) * MORE_ERRORS
    rung = max((rung for rung in rungs if rung.rate <= enough), key=lambda rung: rung.speed)
    return {"beam_size": rung.beam_size, "score_threshold": rung.score_threshold}


def _even(count: int, dimensions: int) -> NDArray[np.float64]:
    """Points (count, dimensions) that fill the unit cube evenly: Roberts' sequence, without chance."""
    root = 2.0
    for _ in range(30):  # of x^(d + 1) = x + 1, the golden ratio's kin
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    return (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1.0
