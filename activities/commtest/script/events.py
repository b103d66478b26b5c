"""What a rank says: JSON objects on standard output, one a line."""

import json
import os

# The pod's rank. torchrun gives RANK another meaning in the processes that it
# starts, so the keeper passes the pod's on under a name of its own.
RANK = int(os.environ.get("COMMTEST_RANK") or os.environ.get("RANK", "0"))


class Trouble(Exception):
    """Something that was found wrong, in the shape of an error event.

    missing: ranks that were waited for in vain. echo: it only repeats what
    another rank saw. timed_out: nothing came within the time. entered: the
    collectives begun by then.
    """

    def __init__(self, phase, detail, missing=(), echo=False, timed_out=False, entered=None):
        super().__init__(detail)
        self.phase, self.detail, self.missing = phase, detail, sorted(missing)
        self.echo, self.timed_out, self.entered = echo, timed_out, entered


def emit(**event):
    """Prints one event in one write, so that lines of several processes stay whole."""
    os.write(1, (json.dumps(event) + "\n").encode())


def emit_trouble(trouble):
    event = {"event": "error", "rank": RANK, "phase": trouble.phase, "detail": trouble.detail[:1000]}
    if trouble.missing:
        event["missing"] = trouble.missing
    if trouble.echo:
        event["echo"] = True
    if trouble.timed_out:
        event["timed_out"] = True
    if trouble.entered is not None:
        event["entered"] = trouble.entered
    emit(**event)


# What a process hears when a peer has ended: the peer knows more.
ECHOES = (
    "remote process exited",
    "ncclRemoteError",
    "closed by remote peer",
    "closed by peer",
    "reset by peer",
    "Broken pipe",
    "communicator was aborted",
)


def is_echo(text):
    return any(echo in text for echo in ECHOES)


def is_timeout(text):
    return any(word in text.lower() for word in ("timed out", "timeout"))
