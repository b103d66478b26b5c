"""Reads with plain system calls. Pages that the node has in memory would be
measured as storage, so every file is dropped from there before it is read."""

import os
import random
import threading
import time

MIB, BLOCK, FILE_PART = 1 << 20, 4096, 64 << 10


class Tally:
    """What one stream has read. Errors end a file, not the stream."""

    def __init__(self, most_bytes, end):
        self.most_bytes, self.end = most_bytes, end
        self.bytes, self.times, self.errors = 0, [], []

    def goes_on(self):
        return self.bytes < self.most_bytes and time.monotonic() < self.end and len(self.errors) < 20

    def read(self, call, *args):
        begun = time.monotonic()
        got = len(call(*args))
        self.times.append(time.monotonic() - begun)
        self.bytes += got
        return got


def fresh(path, advice):
    handle = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(handle, 0, 0, advice)
    return handle


def whole(tally, path, _size, _chance):
    handle = fresh(path, os.POSIX_FADV_SEQUENTIAL)
    try:
        while tally.goes_on() and tally.read(os.read, handle, MIB):
            pass
    finally:
        os.close(handle)


def places(tally, path, size, chance):
    handle = fresh(path, os.POSIX_FADV_RANDOM)
    try:
        for _ in range(64):
            if not tally.goes_on():
                return
            tally.read(os.pread, handle, BLOCK, chance.randrange(max(1, size // BLOCK)) * BLOCK)
    finally:
        os.close(handle)


def opened(tally, path, _size, _chance):
    def one():
        handle = fresh(path, os.POSIX_FADV_NORMAL)
        try:
            return os.read(handle, FILE_PART)
        finally:
            os.close(handle)

    tally.read(one)


def stream(tally, work, files, chance, again):
    while True:
        for path, size in files:
            if not tally.goes_on():
                return
            try:
                work(tally, path, size, chance)
            except OSError as error:
                tally.errors.append((path, error))
        if not again or not tally.bytes:
            return


def side_by_side(work, files, streams, most_bytes, seconds, again=False):
    streams = max(1, min(streams, len(files)))
    begun = time.monotonic()
    tallies = [Tally(most_bytes // streams, begun + seconds) for _ in range(streams)]
    threads = [threading.Thread(target=stream, args=(t, work, files[i::streams], random.Random(i), again))
               for i, t in enumerate(tallies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = max(time.monotonic() - begun, 1e-6)
    errors = [error for t in tallies for error in t.errors]
    return figures([x for t in tallies for x in t.times], sum(t.bytes for t in tallies), took), errors


def figures(times, count, took):
    if not times or not count:
        return None
    times.sort()
    at = [times[min(len(times) - 1, int(len(times) * share))] for share in (0.5, 0.99)]
    return {"tool": "python", "reads": len(times), "bytes": count, "seconds": round(took, 6), "mbps": round(count / took / 1e6, 3),
            "reads_per_second": round(len(times) / took, 3), "p50_ms": round(at[0] * 1e3, 4), "p99_ms": round(at[1] * 1e3, 4)}


def sequential(files, streams, most_bytes, seconds):
    return side_by_side(whole, files, streams, most_bytes, seconds)


def at_random(files, streams, most_bytes, seconds):
    return side_by_side(places, files, streams, most_bytes, seconds, again=True)


def files(small, streams, most_bytes, seconds):
    return side_by_side(opened, small, streams, most_bytes, seconds)
