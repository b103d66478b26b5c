"""Looks over a tree of files, up to a bound: a dataset may have millions."""

import collections
import errno
import os
import statistics
import time

MOST_ENTRIES = 20000


def errno_name(error):
    return errno.errorcode.get(getattr(error, "errno", None) or 0, "")


class Seen:
    def __init__(self):
        self.files, self.bytes, self.errors, self.complete = [], 0, [], True

    @property
    def count(self):
        return len(self.files)

    def median(self):
        return int(statistics.median(size for _, size in self.files)) if self.files else 0

    def files_of(self, wanted):
        return [(path, size) for path, size in self.files if wanted(size)]

    def add(self, path, size):
        self.files.append((path, size))
        self.bytes += size


def walk(path, seconds):
    """Level by level, so that a bound cuts off the depth and not all but the
    first folder. The root itself must be readable; below it errors are noted."""
    seen, end = Seen(), time.monotonic() + seconds
    if os.path.isfile(path):
        seen.add(path, os.path.getsize(path))
        return seen
    os.listdir(path)
    waiting, entries = collections.deque([path]), 0
    while waiting:
        folder = waiting.popleft()
        try:
            with os.scandir(folder) as listing:
                for entry in listing:
                    entries += 1
                    if entries > MOST_ENTRIES or time.monotonic() > end:
                        seen.complete = False
                        return seen
                    look(seen, waiting, entry)
        except OSError as error:
            seen.errors.append((folder, error))
    return seen


def look(seen, waiting, entry):
    try:
        if entry.is_dir(follow_symlinks=False):
            waiting.append(entry.path)
        elif entry.is_file():
            seen.add(entry.path, entry.stat().st_size)
    except OSError as error:
        seen.errors.append((entry.path, error))
