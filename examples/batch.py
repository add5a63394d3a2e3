"""Many files with one model, the failures named: python examples/batch.py *.mp3"""

import sys

import sonant

asr = sonant.load()
for file in sys.argv[1:]:
    try:
        asr.transcribe(file).save(f"{file}.json")
    except sonant.SonantError as error:
        print(error, file=sys.stderr)
