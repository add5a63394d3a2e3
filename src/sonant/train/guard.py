"""Watches pre-training and says in words what goes wrong, so that no days are spent on a run that is lost.

Pure Python on numbers. Limits lie far beyond what runs that went well have shown, their first hundreds of steps
included: a perplexity of 9 of 320 is usual after a thousand steps, one of 1 is the end.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from statistics import median


@dataclass(frozen=True, slots=True)
class Reading:
    """The numbers of one optimiser step; None for what an objective does not have."""

    loss: float
    """Nats a masked frame, without the other parts of the loss."""
    gradient_norm: float
    """Of all gradients together, before clipping."""
    accuracy: float | None = None
    perplexity: float | None = None
    """Of the chosen codes, the mean of the codebooks: 1 to V."""
    clashes: float | None = None
    """Share of negatives that are the same code as the positive."""
    positive_cosine: float | None = None
    negative_cosine: float | None = None
    feature_scale: float | None = None
    """Root of the mean square of the convolutions' output."""

    @classmethod
    def of(cls, means: Mapping[str, float], loss: str, gradient_norm: float) -> Reading:
        """From the metrics of a step, of which `loss` names the objective's main part."""
        scale = means.get("feature_penalty")
        return cls(
            means[loss],
            gradient_norm,
            means.get("accuracy"),
            means.get("perplexity"),
            means.get("clashes"),
            means.get("positive_cosine"),
            means.get("negative_cosine"),
            math.sqrt(scale) if scale is not None and scale >= 0 else scale,
        )

    @property
    def finite(self) -> bool:
        """Whether the step could be taken: a gradient that is not finite must not reach the weights."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong."""

    kind: str
    """Its name in logs."""
    message: str
    """What is going wrong, and what to do about it."""
    stop: bool
    """Whether going on is a waste: stop, or go back to the last good checkpoint with a lower rate."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond what a run is called sick; medians over `window` steps, so that single odd batches mean nothing."""

    window: int = 50
    not_finite: int = 5
    """Steps of a window that may be lost to NaN and infinity."""
    collapsed_perplexity: float = 1.5
    low_perplexity: float = 2.5
    clashes: float = 0.8
    least_loss: float = 0.01
    """A contrastive loss that no honest model reaches."""
    alike_cosine: float = 0.95
    alike_gap: float = 0.01
    explosion: float = 30.0
    """Gradient norm, `EXPLOSION_STEPS` in a row, as a multiple of the median before."""
    vanished_gradient: float = 1e-7
    least_scale: float = 0.003
    """The root of the layer norm's epsilon: features below it are lost in it."""
    most_scale: float = 100.0
    patience: int = 5000
    """Steps after which a model should be better than chance."""


class CollapseGuard:
    """Takes the numbers of each step and tells when a run is lost, or about to be.

    `num_negatives` is None for an objective without them, such as HuBERT's.
    """

    def __init__(self, num_negatives: int | None = None, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.num_negatives = num_negatives
        self.steps = 0
        self.best_loss = math.inf
        """The lowest median so far."""
        self.recent: deque[Reading] = deque(maxlen=self.limits.window)
        self.norms: deque[float] = deque(maxlen=EXPLOSION_STEPS + 2 * self.limits.window)
        self.medians: dict[str, float] = {}
        """Of each number of the window; NaN, which is beyond no limit, until half its steps have it."""
        self.told: set[str] = set()

    def fresh(self) -> CollapseGuard:
        """One that has seen nothing yet."""
        return CollapseGuard(self.num_negatives, self.limits)

    def watch(self, reading: Reading) -> Verdict | None:
        """Take in one step. A warning comes once, and again only after it had ceased to be true; a stop always."""
        self.steps += 1
        self.recent.append(reading)
        if reading.finite:
            self.norms.append(reading.gradient_norm)
        self.medians = {field.name: self._median(field.name) for field in fields(Reading)}
        verdicts = [verdict for rule in RULES if (verdict := rule(self))]
        loss = self.medians["loss"]
        self.best_loss = self.best_loss if math.isnan(loss) else min(self.best_loss, loss)
        new = [verdict for verdict in verdicts if verdict.stop or verdict.kind not in self.told]
        worst = min(new, key=lambda verdict: not verdict.stop, default=None)
        self.told = {verdict.kind for verdict in verdicts if verdict is worst or verdict.kind in self.told}
        return worst

    def _median(self, name: str) -> float:
        values = [getattr(reading, name) for reading in self.recent if reading.finite]
        values = [value for value in values if value is not None and math.isfinite(value)]
        return median(values) if 2 * len(values) >= self.limits.window else math.nan


def _not_finite(guard: CollapseGuard) -> Verdict | None:
    lost = sum(not reading.finite for reading in guard.recent)
    if not lost:
        return None
    counted = f"{lost} of the last {len(guard.recent)} steps gave NaN or infinity"
    if lost <= guard.limits.not_finite:
        return Verdict(
            "not finite", f"{counted}; such steps must be left out, and do no harm while they are few.", False
        )
    return Verdict(
        "not finite",
        f"{counted}; lower the learning rate, train in bfloat16 or float32, and check the data for damaged audio.",
        True,
    )


def _codes_collapsed(guard: CollapseGuard) -> Verdict | None:
    perplexity, clashes = guard.medians["perplexity"], guard.medians["clashes"]
    if perplexity < guard.limits.collapsed_perplexity:
        text = f"The codebooks have collapsed: nearly all frames get the same code (perplexity {perplexity:.2f})"
    elif clashes > guard.limits.clashes:
        text = (
            f"The codes tell utterances apart, not sounds: {clashes:.0%} of the negatives are the positive's own code"
        )
    else:
        return None
    advice = "go back to a checkpoint from before, lower the learning rate or raise the diversity weight"
    return Verdict("codes collapsed", f"{text}; {advice}, and let the temperature fall more slowly.", True)


def _codes_few(guard: CollapseGuard) -> Verdict | None:
    perplexity = guard.medians["perplexity"]
    if not perplexity < guard.limits.low_perplexity:
        return None
    return Verdict(
        "few codes",
        f"Few codes are in use (perplexity {perplexity:.2f}), and the codebooks may be about to collapse; if it falls "
        "further, lower the learning rate or raise the diversity weight.",
        False,
    )


def _loss_too_good(guard: CollapseGuard) -> Verdict | None:
    loss = guard.medians["loss"]
    if guard.num_negatives is None or not loss < guard.limits.least_loss:
        return None
    return Verdict(
        "loss too good",
        f"The contrastive loss is {loss:.4f}, which no model earns: the targets give themselves away or the audio is "
        "silence; check the data, and begin again with a lower learning rate.",
        True,
    )


def _targets_alike(guard: CollapseGuard) -> Verdict | None:
    positive, negative = guard.medians["positive_cosine"], guard.medians["negative_cosine"]
    if not (negative > guard.limits.alike_cosine and positive - negative < guard.limits.alike_gap):
        return None
    return Verdict(
        "targets alike",
        f"All targets point the same way (cosine {positive:.3f} to the right one, {negative:.3f} to wrong ones), so "
        "there is nothing left to tell apart; go back to a checkpoint from before and lower the learning rate.",
        True,
    )


def _gradient_exploded(guard: CollapseGuard) -> Verdict | None:
    norms = list(guard.norms)
    before, now = norms[:-EXPLOSION_STEPS], norms[-EXPLOSION_STEPS:]
    if len(before) < guard.limits.window or not min(now) > guard.limits.explosion * median(before):
        return None
    return Verdict(
        "gradient exploded",
        f"The gradient's norm has been over {min(now):.3g} for {EXPLOSION_STEPS} steps, where {median(before):.3g} was "
        "usual; go back to a checkpoint from before, lower the learning rate or warm up longer, and clip gradients.",
        True,
    )


def _gradient_vanished(guard: CollapseGuard) -> Verdict | None:
    norm = guard.medians["gradient_norm"]
    if not norm < guard.limits.vanished_gradient:
        return None
    return Verdict(
        "gradient vanished",
        f"The gradient's norm is {norm:.1g}, so nothing is learnt any more; the model is stuck: begin again with a "
        "lower learning rate.",
        True,
    )


def _features_out_of_bounds(guard: CollapseGuard) -> Verdict | None:
    scale = guard.medians["feature_scale"]
    if scale < guard.limits.least_scale:
        return Verdict(
            "features vanished",
            f"The convolutions give almost nothing any more (scale {scale:.1g}), and the norm behind them cannot mend "
            "it; lower feature_penalty_weight, and check the data for silence.",
            True,
        )
    if scale > guard.limits.most_scale:
        return Verdict(
            "features grow",
            f"The convolutions' output grows without bound (scale {scale:.3g}); raise feature_penalty_weight.",
            False,
        )
    return None


def _unlearnt(guard: CollapseGuard) -> Verdict | None:
    loss, chance = guard.medians["loss"], math.log((guard.num_negatives or math.inf) + 1)
    if not (guard.best_loss < 0.9 * chance and loss > chance):
        return None
    return Verdict(
        "unlearnt",
        f"The contrastive loss had come down to {guard.best_loss:.2f} but is back at that of guessing ({loss:.2f}); go "
        "back to a checkpoint from before and lower the learning rate.",
        True,
    )


def _no_better_than_chance(guard: CollapseGuard) -> Verdict | None:
    accuracy = guard.medians["accuracy"]
    if guard.num_negatives is None or guard.steps < guard.limits.patience:
        return None
    chance = 1 / (guard.num_negatives + 1)
    if not accuracy < 2 * chance:
        return None
    return Verdict(
        "chance",
        f"After {guard.steps} steps the right target is found in {accuracy:.1%} of frames, where guessing finds "
        f"{chance:.1%}; check that the audio is speech, and try another learning rate or larger batches.",
        False,
    )


EXPLOSION_STEPS = 10
"""Steps in a row that make an explosion of a spike."""
RULES: tuple[Callable[[CollapseGuard], Verdict | None], ...] = (
    _not_finite,
    _codes_collapsed,
    _codes_few,
    _loss_too_good,
    _targets_alike,
    _gradient_exploded,
    _gradient_vanished,
    _features_out_of_bounds,
    _unlearnt,
    _no_better_than_chance,
)
