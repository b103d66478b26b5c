"""Lets fio read, where the image has it. It is told to change nothing, and
drops the files from the node's memory itself (invalidate, its default)."""

import errno
import json
import os
import subprocess

MIB = 1 << 20


def version():
    """The version of a fio that speaks as this file reads it: 3 and later tell
    nanoseconds. None where there is no such fio."""
    try:
        text = subprocess.run(["fio", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    major = text.replace("fio-", "").split(".")[0]
    return text if major.isdigit() and int(major) >= 3 else None


def command(files, streams, most_bytes, seconds, options):
    streams = max(1, min(streams, len(files)))
    line = ["fio", "--readonly", "--output-format=json", "--group_reporting", "--thread", "--ioengine=sync", "--direct=0",
            "--file_service_type=sequential", "--runtime=%d" % max(1, seconds)] + options
    for i in range(streams):
        # Never more than there is: a second time would come from the node's memory.
        share = min(max(MIB, most_bytes // streams), sum(size for _, size in files[i::streams]))
        names = [path.replace("\\", "\\\\").replace(":", "\\:") for path, _ in files[i::streams]]
        line += ["--name=stream%d" % i, "--filename=" + ":".join(names), "--io_size=%d" % share]
    return line


def readable(files):
    """fio waits for ever for a file that it may not open."""
    good, errors = [], []
    for path, size in files:
        try:
            os.close(os.open(path, os.O_RDONLY))
            good.append((path, size))
        except OSError as error:
            errors.append((path, error))
    return good, errors


def run(files, streams, most_bytes, seconds, options):
    files, unread = readable(files)
    if not files:
        return None, unread
    try:
        done = subprocess.run(command(files, streams, most_bytes, seconds, options), capture_output=True, text=True,
                              timeout=seconds + 15, cwd=os.environ.get("HOME") or "/tmp", check=False)
    except subprocess.TimeoutExpired as late:
        raise OSError(errno.ETIMEDOUT, "fio did not end in time") from late
    begin = done.stdout.find("{")  # warnings may come first
    if begin < 0:
        raise OSError(errno.EPROTO, "fio said: " + (done.stderr or done.stdout).strip()[-250:])
    found, errors = figures(json.loads(done.stdout[begin:]), done.stderr)
    return found, unread + errors


def figures(report, said):
    errors = [(job["jobname"], OSError(job["error"], os.strerror(job["error"]) + ": " + said.strip()[-200:]))
              for job in report["jobs"] if job["error"]]
    read = report["jobs"][0]["read"]
    if not read["total_ios"] or not read["io_bytes"]:
        return None, errors
    took, latency = read["runtime"] / 1e3, read["clat_ns"]["percentile"]
    return {"tool": report["fio version"], "reads": read["total_ios"], "bytes": read["io_bytes"], "seconds": took,
            "mbps": round(read["bw_bytes"] / 1e6, 3), "reads_per_second": round(read["iops"], 3),
            "p50_ms": round(latency["50.000000"] / 1e6, 4), "p99_ms": round(latency["99.000000"] / 1e6, 4)}, errors


def sequential(files, streams, most_bytes, seconds):
    return run(files, streams, most_bytes, seconds, ["--rw=read", "--bs=1M"])


def at_random(files, streams, most_bytes, seconds):
    return run(files, streams, most_bytes, seconds, ["--rw=randread", "--bs=4k", "--norandommap", "--file_service_type=random"])
