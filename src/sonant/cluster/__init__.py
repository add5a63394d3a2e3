"""The server's engines and bulk jobs on the machines of a Ray cluster.

`sonant serve --cluster` and `sonant batch --cluster` start it. Needs the extra `sonant[cluster]`; nothing else imports
Ray.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else Ray's transport remarks on every process that is forked
