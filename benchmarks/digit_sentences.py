"""The sentences that a speech synthesiser reads to train the digits-and-letters model: JSON lines of text and voice.

    python benchmarks/digit_sentences.py VOICE... --held-out VOICE... > sentences.jsonl

A line has `id`, `text` as it is to be transcribed, `spoken` as it is to be read (commas keep spelled letters apart),
`voice`, `speed` and `split`; only voices that are held out read the split `test`. Whatever speaks them writes a
manifest.jsonl with `audio_filepath`, `duration`, `text`, `speaker` and `split`.
"""

from __future__ import annotations

import argparse
import json
import random
import string

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
COMMANDS = ["yes", "no", "enter", "erase", "repeat", "go", "stop", "start", "help", "oh", "hello"]


def sentence(r: random.Random) -> list[str]:
    """Words of one sentence: digits, spelled letters, a command with both, or numbers."""
    kind = r.random()
    if kind < 0.42:
        return [r.choice(DIGITS) for _ in range(r.randint(2, 9))]
    if kind < 0.72:
        return [r.choice(string.ascii_uppercase) for _ in range(r.randint(2, 8))]
    if kind < 0.86:
        letters = [r.choice(string.ascii_uppercase) for _ in range(r.randint(1, 4))]
        return [r.choice(COMMANDS), *letters, *(r.choice(DIGITS) for _ in range(r.randint(0, 4)))]
    words: list[str] = []
    for _ in range(r.randint(1, 4)):
        if r.random() < 0.4:
            words.append(r.choice(TEENS))
        else:
            words += [r.choice(TENS), *([r.choice(DIGITS[1:])] if r.random() < 0.7 else [])]
    return [r.choice(COMMANDS), *words] if r.random() < 0.3 else words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voices", nargs="+")
    parser.add_argument("--held-out", nargs="+", required=True)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    r = random.Random(5)
    for i in range(options.count):
        test = i % 16 == 3
        words = sentence(r)
        spoken = " ".join(word + ("," if len(word) == 1 or r.random() < 0.25 else "") for word in words)
        row = {
            "id": f"{i:05d}",
            "text": " ".join(words).upper(),
            "spoken": spoken,
            "voice": r.choice(options.held_out if test else options.voices),
            "speed": round(r.uniform(0.8, 1.25), 2),
            "split": "test" if test else "train",
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
