"""Collectives over loopback: process 0 collects and hands out. FAKE_WRONG names
a process that receives a wrong element in FAKE_OP (all_reduce), FAKE_HANG one
that never takes part."""

import json
import os
import socket
import time

_state = {}


class ReduceOp:
    SUM, MAX = "sum", "max"


def is_nccl_available():
    return False


def init_process_group(backend, timeout):
    assert backend == "gloo"
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    _state.update(rank=rank, world=world)
    if rank == 0:
        server = socket.create_server((host, port))
        files = [server.accept()[0].makefile("rwb") for _ in range(world - 1)]
        _state["peers"] = dict((json.loads(file.readline()), file) for file in files)
        return
    for _ in range(100):
        try:
            _state["root"] = socket.create_connection((host, port)).makefile("rwb")
            return _say(_state["root"], rank)
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("no store")


def _say(file, values):
    file.write((json.dumps(values) + "\n").encode())
    file.flush()


def _hear(file):
    line = file.readline()
    if not line:
        raise RuntimeError("Connection closed by peer")  # gloo's words
    return json.loads(line)


def _rows(values):
    """Everybody's values, by process."""
    if os.environ.get("FAKE_HANG") == str(_state["rank"]):
        time.sleep(3600)
    if _state["rank"] != 0:
        _say(_state["root"], values)
        return _hear(_state["root"])
    rows = [values] + [_hear(_state["peers"][p]) for p in range(1, _state["world"])]
    for peer in _state["peers"].values():
        _say(peer, rows)
    return rows


def _spoil(op, t):
    wanted = os.environ.get("FAKE_OP", "all_reduce")
    if os.environ.get("FAKE_WRONG") == str(_state["rank"]) and op == wanted and len(t.values) > 1:
        t.values[1] += 0.5


def all_reduce(t, op=ReduceOp.SUM):
    t.values = [(max if op == ReduceOp.MAX else sum)(column) for column in zip(*_rows(t.values), strict=True)]
    _spoil("all_reduce", t)


def all_gather(parts, t):
    for part, row in zip(parts, _rows(t.values), strict=True):
        part.values = row
    _spoil("all_gather", parts[0])


class _Receive:
    def __init__(self, t, source):
        self.t, self.source = t, source
        _state["receive"] = self

    def wait(self):
        pass


class _Send:
    """The receive was begun before; the exchange happens when it is waited for."""

    def __init__(self, t):
        self.t = t

    def wait(self):
        receive = _state.pop("receive")
        receive.t.values = _rows(self.t.values)[receive.source]
        _spoil("sendrecv", receive.t)


def irecv(t, source):
    return _Receive(t, source)


def isend(t, to):
    return _Send(t)


def destroy_process_group():
    _state.clear()
