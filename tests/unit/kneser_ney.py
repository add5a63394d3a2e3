"""Interpolated modified Kneser-Ney by its definition, with sets and dictionaries: the oracle of the native estimator.

Chen, Goodman: An empirical study of smoothing techniques (1998), section 4.1.6; which n-grams are counted how, and what
pruning leaves, as in KenLM's lmplz.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from math import log10
from pathlib import Path

Gram = tuple[str, ...]
Model = dict[Gram, tuple[float, float]]
"""log10 of probability and of back-off weight, by n-gram."""

MARKS = ("<unk>", "<s>", "</s>")


def estimate(
    sentences: Sequence[Sequence[str]], order: int, thresholds: Sequence[int], allowed: Collection[str] | None = None
) -> Model:
    """The model; orders of which nothing is left have no n-grams."""
    plain = count(sentences, order)
    left: dict[Gram, set[str]] = defaultdict(set)
    for gram in plain:
        left[gram[1:]].add(gram[0])
    adjusted = {g: plain[g] if len(g) == order or g[0] == "<s>" else len(left[g]) for g in plain}
    adjusted |= {("<unk>",): 0, ("<s>",): 0}
    kept = {g for g in adjusted if (g[0] in MARKS and len(g) == 1) or keeps(g, plain[g], thresholds, allowed)}
    members: dict[Gram, list[Gram]] = defaultdict(list)  # of a context
    for gram in adjusted:
        members[gram[:-1]].append(gram)
    taken = discounts(sentences, order, plain, adjusted)
    weights = {context: weight(grams, adjusted, kept, taken) for context, grams in members.items()}
    uniform = 1 / (sum(len(g) == 1 for g in kept) - 1)  # <s> is never predicted

    def probability(gram: Gram) -> float:
        if not gram:
            return uniform
        total = sum(adjusted[g] for g in members[gram[:-1]])
        own = (adjusted[gram] - taken[len(gram)][min(adjusted[gram], 3)]) / total
        return own + weights[gram[:-1]] * probability(gram[1:])

    model = {g: (log10(probability(g)), logarithm(weights.get(g, 1.0))) for g in kept if g != ("<s>",)}
    return model | {("<s>",): (0.0, logarithm(weights.get(("<s>",), 1.0)))}


def count(sentences: Sequence[Sequence[str]], order: int) -> Counter[Gram]:
    """N-grams up to the order; `<s>` stands at their begin only, and never alone."""
    counts: Counter[Gram] = Counter()
    for sentence in sentences:
        words = ("<s>", *sentence, "</s>")
        for end in range(2, len(words) + 1):
            counts.update(words[begin:end] for begin in range(max(0, end - order), end))
    return counts


def keeps(gram: Gram, times: int, thresholds: Sequence[int], allowed: Collection[str] | None) -> bool:
    """Whether pruning leaves it."""
    return times > thresholds[len(gram) - 1] and (allowed is None or all(w in allowed or w in MARKS for w in gram))


def discounts(
    sentences: Sequence[Sequence[str]], order: int, plain: Counter[Gram], adjusted: dict[Gram, int]
) -> dict[int, list[float]]:
    """By order, what is taken from adjusted counts of 0, 1, 2, and 3 and more."""
    numbers: dict[str, int] = {word: number for number, word in enumerate(MARKS)}
    for sentence in sentences:
        for word in sentence:
            numbers.setdefault(word, len(numbers))
    # lmplz counts the last n-gram of each order below the highest by its plain count
    padded = (("<s>",) * (order - 1) + (*s, "</s>") for s in sentences)
    longest = (words[i : i + order] for words in padded for i in range(len(words) - order + 1))
    last = max(longest, key=lambda gram: [numbers[word] for word in reversed(gram)])
    counted = {g: plain[g] if len(g) < order and last[-len(g) :] == g else adjusted[g] for g in adjusted}
    found: dict[int, list[float]] = {}
    for k in range(1, order + 1):
        n = Counter(times for gram, times in counted.items() if len(gram) == k)
        found[k] = [0, 0.5, 1, 1.5]
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            amounts = [c - (c + 1) * y * n[c + 1] / n[c] for c in (1, 2, 3)]
            if all(0 <= amount <= c for c, amount in enumerate(amounts, 1)):
                found[k] = [0, *amounts]
    return found


def weight(grams: list[Gram], adjusted: dict[Gram, int], kept: set[Gram], taken: dict[int, list[float]]) -> float:
    """What the n-grams of one context leave to the shorter one."""
    mass = sum(taken[len(g)][min(adjusted[g], 3)] if g in kept else adjusted[g] for g in grams)
    return mass / sum(adjusted[g] for g in grams)


def logarithm(value: float) -> float:
    """log10, with -99 for that of zero."""
    return log10(value) if value else -99.0


def read_arpa(path: Path) -> tuple[list[int], Model]:
    """The counts an ARPA file declares, and its n-grams."""
    declared: list[int] = []
    model: Model = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("ngram "):
            declared.append(int(line.partition("=")[2]))
        elif "\t" in line:
            score, words, *backoff = line.split("\t")
            model[tuple(words.split(" "))] = (float(score), float(backoff[0]) if backoff else 0.0)
    return declared, model


def score(model: Model, context: Gram, word: str) -> float:
    """log10 of a word's probability, backing off as every reader of an ARPA file does."""
    if (*context, word) in model:
        return model[*context, word][0]
    return model.get(context, (0.0, 0.0))[1] + score(model, context[1:], word)
