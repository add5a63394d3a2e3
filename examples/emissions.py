"""What a model hears, frame by frame: python examples/emissions.py examples/forest.ogg"""

import sys

import sonant

asr = sonant.load()
emissions = asr.emissions(sys.argv[1])
tokens = emissions.vocabulary.tokens
for i, frame in enumerate(emissions.log_probs):
    best = frame.argmax()
    if best != emissions.vocabulary.blank:
        print(f"{emissions.start + i * emissions.frame_seconds:6.2f} s  {tokens[best]}")
print(sonant.GreedyDecoder().decode(emissions)[0].text)
