"""The work of one process: one GPU, or a CPU where there is none.

Every collective is checked for right contents at every size and then timed.
Bandwidth is counted as nccl-tests counts it, so that figures compare.
"""

import datetime
import os
import statistics
import threading
import time

from events import RANK, Trouble, emit, emit_trouble, is_echo, is_timeout

SIZES = [int(word) for word in os.environ.get("COMMTEST_SIZES", "1048576").split(",")]
OPS = os.environ.get("COMMTEST_OPS", "all_reduce,all_gather,sendrecv").split(",")

WARM_UPS = 2
MOST_ROUNDS = 20
POINT_SECONDS = 1.0  # about as long is one size measured, whatever the speed
TAGS = 61  # what tells processes apart in contents; small, so that sums stay exact
SKEW_ROUNDS = 10
EXCHANGE_BYTES = 1 << 26


class Place:
    """Where this process stands: process p of processes, the local-th of its pod."""

    def __init__(self, rank, world, procs, local, host):
        self.rank, self.world, self.procs, self.local, self.host = rank, world, procs, local, host
        self.process, self.processes = rank * procs + local, world * procs


class Watch:
    """Ends the process when its time is up, saying in which phase it hung.

    NCCL may hang for ever in native code; a thread can still speak then.
    entered counts the collectives that this process has begun: of the ranks
    that hang, the one that began fewest is the one the others wait for.
    """

    def __init__(self, seconds):
        self.phase, self.entered = "init", 0
        self.timer = threading.Timer(seconds, self.expire, args=(seconds,))
        self.timer.daemon = True
        self.timer.start()

    def expire(self, seconds):
        detail = f"no progress, gave up after {seconds:.0f} s in collective {self.entered}"
        emit_trouble(Trouble(self.phase, detail, timed_out=True, entered=self.entered))
        os._exit(1)

    def end(self):
        self.timer.cancel()


def trouble_of(error, place, watch):
    """torch reports network faults as plain RuntimeErrors."""
    if isinstance(error, Trouble):
        return error
    text = f"{type(error).__name__}: {error}"
    return Trouble(
        watch.phase, f"GPU {place.local}: {text}", echo=is_echo(text), timed_out=is_timeout(text), entered=watch.entered
    )


class Run:
    """What the parts of a sweep share."""

    def __init__(self, torch, dist, device, place, watch):
        self.torch, self.dist, self.device, self.place, self.watch = torch, dist, device, place, watch

    def wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def agree(self, value, op=None):
        """The largest of all processes' values, or their sum."""
        self.watch.entered += 1
        kind = self.torch.float64
        shared = self.torch.tensor([value], dtype=kind, device=self.device)
        self.dist.all_reduce(shared, op=op or self.dist.ReduceOp.MAX)
        return float(shared.item())

    def timed(self, work, rounds=1):
        """Seconds of one round here, from the call to its end on the device."""
        self.wait()
        started = time.perf_counter()
        for _ in range(rounds):
            work()
        self.wait()
        return (time.perf_counter() - started) / rounds

    def pattern(self, count):
        """Every element differs from its neighbours."""
        return self.torch.arange(count, device=self.device, dtype=self.torch.int32).remainder_(251).to(self.torch.float32)

    def wrong(self, got, expected):
        return int(self.torch.count_nonzero(got != expected).item())


def tag(process):
    return float(process % TAGS)


# --- the collectives ------------------------------------------------------------
#
# Each has: name, moved (bytes as nccl-tests counts them), factor (bus bandwidth
# over moved/seconds among n), go (one round), wrong (wrong elements after
# fill and one round).


class AllReduce:
    name = "all_reduce"

    def __init__(self, run, size):
        self.run, self.count = run, size // 4
        self.moved = self.count * 4
        self.data = run.torch.zeros(self.count, device=run.device)

    @staticmethod
    def factor(n):
        return 2 * (n - 1) / n

    def go(self):
        self.run.dist.all_reduce(self.data)

    def wrong(self):
        pattern = self.run.pattern(self.count)
        processes = self.run.place.processes
        self.data.copy_(pattern + tag(self.run.place.process))
        self.go()
        expected = pattern.mul_(float(processes)).add_(sum(tag(p) for p in range(processes)))
        return self.run.wrong(self.data, expected)


class AllGather:
    name = "all_gather"

    def __init__(self, run, size):
        n = run.place.processes
        self.run, self.count = run, max(1, size // 4 // n)
        self.moved = self.count * 4 * n
        self.mine = run.torch.zeros(self.count, device=run.device)
        self.all = run.torch.zeros(self.count * n, device=run.device)
        self.parts = list(self.all.chunk(n))
        # gloo has no call that gathers into one tensor.
        self.into = None if run.device.type == "cpu" else getattr(run.dist, "all_gather_into_tensor", None)

    @staticmethod
    def factor(n):
        return (n - 1) / n

    def go(self):
        if self.into:
            self.into(self.all, self.mine)
        else:
            self.run.dist.all_gather(self.parts, self.mine)

    def wrong(self):
        pattern = self.run.pattern(self.count)
        self.mine.copy_(pattern + tag(self.run.place.process))
        self.go()
        return sum(self.run.wrong(part, pattern + tag(p)) for p, part in enumerate(self.parts))


class SendRecv:
    """A ring: every process sends to the same GPU of the next pod, so that all
    of it crosses nodes; inside one pod, to the next GPU."""

    name = "sendrecv"

    def __init__(self, run, size):
        place = run.place
        self.run, self.count = run, size // 4
        self.moved = self.count * 4
        shift = place.procs if place.world > 1 else 1
        self.next = (place.process + shift) % place.processes
        self.previous = (place.process - shift) % place.processes
        self.out = run.torch.zeros(self.count, device=run.device)
        self.into = run.torch.zeros(self.count, device=run.device)

    @staticmethod
    def factor(n):
        return 1.0

    def go(self):
        dist = self.run.dist
        if self.run.device.type == "cuda":
            ends = [dist.P2POp(dist.isend, self.out, self.next), dist.P2POp(dist.irecv, self.into, self.previous)]
            works = dist.batch_isend_irecv(ends)
        else:
            works = [dist.irecv(self.into, self.previous), dist.isend(self.out, self.next)]
        for work in works:
            work.wait()

    def wrong(self):
        pattern = self.run.pattern(self.count)
        self.out.copy_(pattern + tag(self.run.place.process))
        self.go()
        return self.run.wrong(self.into, pattern + tag(self.previous))


COLLECTIVES = {kind.name: kind for kind in (AllReduce, AllGather, SendRecv)}


# --- the sweep --------------------------------------------------------------------


def sweep(place, backend, seconds, watch):
    import torch
    import torch.distributed as dist

    device = torch.device("cuda", place.local) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    run = Run(torch, dist, device, place, watch)
    own = own_work(run)
    dist.init_process_group(backend, timeout=datetime.timedelta(seconds=seconds))
    run.agree(0)  # NCCL connects on first use
    watch.phase = "collective"
    if place.processes > 1:
        for name in OPS:
            for size in SIZES:
                measure(run, COLLECTIVES[name], size)
        own.update(lateness(run), exchange_seconds=exchange(run))
    report_rank(place, own)
    run.agree(0)  # so that nobody leaves while another still works
    if place.process == 0:
        emit(event="end", rank=0, ok=True, world=place.world)
    dist.destroy_process_group()


def measure(run, kind, size):
    """One size of one collective: right contents first, then the time."""
    op = kind(run, size)
    check(run, op, size)
    seconds = run.agree(time_one(run, op))
    if run.place.process == 0:
        report_point(op, size, seconds, run.place.processes)


def check(run, op, size):
    run.watch.entered += 1
    mine = op.wrong()
    everybody = int(run.agree(float(mine), run.dist.ReduceOp.SUM))
    if everybody == 0:
        return
    run.watch.phase = "check"
    detail = f"{mine} wrong elements here, {everybody} in all, after {op.name} of {size} bytes"
    raise Trouble("check", detail, echo=mine == 0)


def time_one(run, op):
    """Seconds of one round here, the mean over as many as fit into the time."""
    for _ in range(WARM_UPS):
        op.go()
    once = run.agree(run.timed(op.go))
    rounds = max(1, min(MOST_ROUNDS, int(POINT_SECONDS / max(once, 1e-9))))
    run.watch.entered += 1
    return run.timed(op.go, rounds)


def bus_bandwidth(op, moved, seconds, processes):
    """GB/s that each process's link carries."""
    return moved / seconds * op.factor(processes) / 1e9


def report_point(op, size, seconds, processes):
    emit(
        event="point",
        op=op.name,
        bytes=size,
        time_ms=round(seconds * 1e3, 6),
        algbw_gbps=round(op.moved / seconds / 1e9, 6),
        busbw_gbps=round(bus_bandwidth(op, op.moved, seconds, processes), 6),
        wrong=0,
    )


# --- the ranks' own times -----------------------------------------------------------


def own_work(run):
    """Seconds of what touches no network: a slow GPU or host shows here,
    whereas in a collective all ranks wait for the slowest."""
    torch, device, cuda = run.torch, run.device, run.device.type == "cuda"
    side, count = (8192, 1 << 24) if cuda else (256, 1 << 20)
    square = torch.ones((side, side), device=device, dtype=torch.float16 if cuda else torch.float32)
    data = torch.ones(count, device=device)
    copy = torch.empty_like(data)
    host = torch.empty(count, pin_memory=cuda)

    def copies():
        copy.copy_(data)
        host.copy_(data)
        data.copy_(host)

    for warm in (lambda: torch.matmul(square, square), copies):
        run.timed(warm, WARM_UPS)
    return {
        "compute_seconds": statistics.median(run.timed(lambda: torch.matmul(square, square), 5) for _ in range(3)),
        "copy_seconds": statistics.median(run.timed(copies, 5) for _ in range(3)),
    }


def lateness(run):
    """Seconds by which this process comes late to a collective, and of the work
    before it; medians.

    All start together, do the same work and meet again: whoever waits least
    came last. Clocks need not agree.
    """
    one = run.torch.ones(1, device=run.device)
    side = 2048 if run.device.type == "cuda" else 128
    work = run.torch.ones((side, side), device=run.device)

    def meet():
        run.watch.entered += 1
        run.dist.all_reduce(one)

    waits, works = [], []
    for _ in range(SKEW_ROUNDS):
        run.timed(meet)
        works.append(run.timed(lambda: run.torch.matmul(work, work), 3) * 3)
        waits.append(run.timed(meet))
    mine = statistics.median(waits)
    return {"late_seconds": run.agree(mine) - mine, "work_seconds": statistics.median(works)}


def exchange(run):
    """Seconds that this process needs to send to the next and receive from the
    previous: unlike in a ring collective, a slow link is felt by its ends alone."""
    op = SendRecv(run, min(SIZES[-1], EXCHANGE_BYTES))
    times = []
    for _ in range(3):
        run.agree(0)
        run.watch.entered += 1
        times.append(run.timed(op.go))
    return statistics.median(times)


def report_rank(place, own):
    seconds = own["compute_seconds"] + own["copy_seconds"]
    times = {name: round(value, 9) for name, value in own.items()}
    emit(event="rank", rank=RANK, local=place.local, host=place.host, seconds=round(seconds, 9), **times)
