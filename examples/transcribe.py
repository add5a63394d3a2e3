"""Words of a recording, with times and confidences: python examples/transcribe.py examples/forest.ogg"""

import sys

import sonant

asr = sonant.load()
talk = asr.transcribe(sys.argv[1])
print(talk.text)
for word in talk.words:
    print(f"{word.start:7.2f} {word.end:7.2f} {word.confidence:5.2f} {word.text}")
