"""Random back-off models, their ARPA text, and a scorer that is easy to believe."""

from __future__ import annotations

import random
from math import log
from pathlib import Path

Ngram = tuple[str, ...]
Model = dict[Ngram, tuple[float, float | None]]
"""log10 p and log10 of the back-off weight, None where the file says none."""

MARKS = ("<unk>", "<s>", "</s>")


def random_model(
    seed: int, order: int, num_words: int = 8, size: int = 60, marks: Ngram = MARKS, contexts: bool = False
) -> Model:
    """Unigrams of all words and any longer n-grams: some lack their contexts, some their suffixes.

    With `contexts`, none lacks its context and no back-off weight is above one, which is what KenLM takes.
    """
    rng = random.Random(seed)
    words = [*marks, *(f"wörd{i}" for i in range(num_words))]

    def weights(length: int) -> tuple[float, float | None]:
        above = 0.0 if contexts else round(rng.random() / 3, 4)
        backoff = rng.choice([None, 0.0, round(-2 * rng.random(), 4), above])
        return round(-0.01 - 4 * rng.random(), 5), None if length == order else backoff

    model: Model = {(word,): weights(1) for word in words}
    for length in range(2, order + 1):
        for _ in range(size):
            ngram = tuple(rng.choices(words, k=length))
            for n in range(2 if contexts else length, length + 1):
                model.setdefault(ngram[:n], weights(n))
    return model


def arpa_of(model: Model) -> str:
    """The model as an ARPA file."""
    order = max(map(len, model))
    by_order = [[ngram for ngram in model if len(ngram) == n] for n in range(1, order + 1)]
    lines = ["\\data\\", *(f"ngram {n}={len(ngrams)}" for n, ngrams in enumerate(by_order, 1)), ""]
    for n, ngrams in enumerate(by_order, 1):
        lines.append(f"\\{n}-grams:")
        for ngram in ngrams:
            score, backoff = model[ngram]
            lines.append(f"{score}\t{' '.join(ngram)}" + ("" if backoff is None else f"\t{backoff}"))
        lines.append("")
    return "\n".join([*lines, "\\end\\", ""])


def write_arpa(path: Path, model: Model) -> Path:
    path.write_text(arpa_of(model), encoding="utf-8")
    return path


def oracle(model: Model, words: list[str], begin: bool = True, end: bool = True) -> list[float]:
    """Natural logarithms by definition: the n-gram, or the back-off weight and the n-gram without its first word."""
    order = max(map(len, model))

    def score(ngram: Ngram) -> float:
        if ngram in model:
            return model[ngram][0]
        if len(ngram) == 1:
            return -100.0  # <unk> itself is missing
        return (model.get(ngram[:-1], (0, 0))[1] or 0.0) + score(ngram[1:])

    known = [word if (word,) in model else "<unk>" for word in words]
    history = ("<s>",) if begin and ("<s>",) in model else ()
    scores: list[float] = []
    for word in [*known, "</s>"] if end and ("</s>",) in model else known:
        history = (*history, word)[-order:]
        scores.append(score(history) * log(10))
    return scores + [0.0] * (end and ("</s>",) not in model)


def random_sentences(seed: int, model: Model, count: int = 40) -> list[list[str]]:
    """Sentences half made of the model's own n-grams, with words it does not know."""
    rng = random.Random(seed)
    ngrams = list(model)

    def phrase() -> list[str]:
        return [*rng.choice(ngrams), *(["stranger"] if rng.random() < 0.2 else [])]

    return [[word for _ in range(rng.randrange(5)) for word in phrase()] for _ in range(count)]
