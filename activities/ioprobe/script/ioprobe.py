"""Reads from the paths it is told, within bounds of bytes and seconds, and
prints what it saw as JSON lines. It writes nothing there."""

import json
import os
import random
import sys
import time

import fio
import reading
import tree

MIB = 1 << 20
# Large files are read in order and at random places, small ones are opened.
LARGE, SMALL = 4 * MIB, MIB
# Shares of the bytes and of the seconds.
SHARES = {"sequential": (0.75, 0.4), "random": (0.05, 0.2), "files": (0.2, 0.3)}
MOST_FILES = 4000


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def trouble(path, doing, error):
    name = tree.errno_name(error)
    emit("error", path=path, op=doing, errno=name, detail=str(error)[:300])


def measure(path, test, run):
    """run gives a dict of figures, or None where there is nothing to read."""
    try:
        figures, errors = run()
    except OSError as error:
        trouble(path, test, error)
        return
    for where, error in errors[:5]:
        trouble(where, test, error)
    if figures:
        emit("measure", path=path, test=test, **figures)


def probe(path, most_bytes, seconds, streams, tool):
    begun = time.monotonic()
    try:
        seen = tree.walk(path, 0.1 * seconds)
    except OSError as error:
        trouble(path, "list", error)
        return
    emit("tree", path=path, files=seen.count, bytes=seen.bytes, median_bytes=seen.median(),
         complete=seen.complete, seconds=round(time.monotonic() - begun, 3))
    for where, error in seen.errors[:5]:
        trouble(where, "list", error)
    chance = random.Random(1)  # the same files again at the next attempt
    large = seen.files_of(lambda size: size >= LARGE)
    small = seen.files_of(lambda size: 0 < size <= SMALL)
    chance.shuffle(large)
    chance.shuffle(small)
    seconds = max(1.0, seconds - (time.monotonic() - begun))

    def share(test):
        return int(most_bytes * SHARES[test][0]), seconds * SHARES[test][1]

    if large:
        large = large[:16 * streams]
        reader = fio if tool == "fio" else reading
        measure(path, "sequential", lambda: reader.sequential(large, streams, *share("sequential")))
        measure(path, "random", lambda: reader.at_random(large, streams, *share("random")))
    if small:
        measure(path, "files", lambda: reading.files(small[:MOST_FILES], streams, *share("files")))


def main():
    env = os.environ
    paths = json.loads(env["IOPROBE_PATHS"])
    most_bytes, seconds = int(env["IOPROBE_BYTES"]), float(env["IOPROBE_SECONDS"])
    streams = int(env.get("IOPROBE_STREAMS", "4"))
    version = fio.version() if env.get("IOPROBE_TOOL") != "python" else None
    tool = "fio" if version else "python"
    version = version or "python-%d.%d.%d" % sys.version_info[:3]
    begun = time.monotonic()
    emit("start", host=env.get("NODE_NAME", ""), tool=tool, version=version, streams=streams)
    for path in paths:
        probe(path, most_bytes // len(paths), seconds / len(paths), streams, tool)
    emit("end", ok=True, seconds=round(time.monotonic() - begun, 3))


if __name__ == "__main__":
    main()
