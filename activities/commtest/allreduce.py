"""All-reduce test of one group of nodes: one pod per node, one process per GPU.

The pod's first process (the keeper) meets the other pods, checks that every
pod reaches every other by TCP, and only then starts one process per GPU, which
run the sweep with torch.distributed. A pod is a rank; events on standard
output are JSON objects, one a line. Exit code 0 means that the sweep ended well.

Only the standard library is needed until all ranks have met, so that whoever
is missing is named by us and not hidden in a library's time-out.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time

RANK = int(os.environ.get("RANK", "0"))
WORLD = int(os.environ.get("NNODES", "1"))
PROCS = int(os.environ.get("NPROC_PER_NODE", "1"))
HOST = os.environ.get("NODE_NAME") or socket.gethostname()
MASTER = os.environ.get("MASTER_ADDR", "localhost")
PORT = int(os.environ.get("MASTER_PORT", "29500"))
TOKEN = os.environ.get("COMMTEST_TOKEN", "")
SIZES = [int(word) for word in os.environ.get("COMMTEST_SIZES", "1048576").split(",")]
MEET_SECONDS = float(os.environ.get("COMMTEST_MEET_SECONDS", "60"))
RUN_SECONDS = float(os.environ.get("COMMTEST_RUN_SECONDS", "120"))
LOCAL = os.environ.get("COMMTEST_LOCAL")  # set in the processes that drive a GPU

CONNECT_SECONDS = 5.0  # one attempt to connect
CONNECT_TRIES = 3  # attempts to reach a peer that has met us a moment ago
MESH_THREADS = 32
LONGEST = 1 << 22  # bytes of one message between ranks


class Trouble(Exception):
    """Something that was found wrong, in the shape of an error event."""

    def __init__(self, phase, detail, missing=(), echo=False):
        super().__init__(detail)
        self.phase, self.detail = phase, detail
        self.missing, self.echo = sorted(missing), echo


def emit(**event):
    """Prints one event in one write, so that lines of several processes stay whole."""
    os.write(1, (json.dumps(event) + "\n").encode())


def emit_trouble(trouble):
    event = {"event": "error", "rank": RANK, "phase": trouble.phase, "detail": trouble.detail[:1000]}
    if trouble.missing:
        event["missing"] = trouble.missing
    if trouble.echo:
        event["echo"] = True
    emit(**event)


# --- the check-in: every rank reports to rank 0 ------------------------------


def listen(port):
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    return socket.create_server(("", port), backlog=4096)


def send(conn, message):
    conn.sendall((json.dumps(message) + "\n").encode())


def receive(conn, deadline):
    """One message, or an OSError; conn carries nothing else after it yet."""
    data = bytearray()
    while not data.endswith(b"\n"):
        conn.settimeout(max(0.01, deadline - time.monotonic()))
        part = conn.recv(65536)
        if not part:
            raise ConnectionError("the other side closed the connection")
        data += part
        if len(data) > LONGEST:
            raise ConnectionError("the message is too long")
    return json.loads(data)


class Hall:
    """Rank 0's side of the check-in."""

    def __init__(self, world, token, port, mesh_port, host):
        self.world, self.token, self.port = world, token, port
        self.server = listen(port)
        self.conns = {}
        self.people = {0: {"rank": 0, "host": host, "ip": "", "port": mesh_port}}

    def wait(self, seconds):
        """Accepts until all have come; returns the ranks that have not."""
        deadline = time.monotonic() + seconds
        while len(self.people) < self.world:
            self.server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                conn, address = self.server.accept()
            except (TimeoutError, socket.timeout):
                break
            self.greet(conn, address[0])
            if time.monotonic() > deadline:
                break
        return [rank for rank in range(self.world) if rank not in self.people]

    def greet(self, conn, ip):
        """Takes in a rank; whoever does not know the token is sent away."""
        try:
            hello = receive(conn, time.monotonic() + CONNECT_SECONDS)
            rank = int(hello["rank"])
            int(hello["port"]), str(hello["host"])
            if hello["token"] != self.token or not 0 < rank < self.world:
                raise ValueError("a stranger")
        except (OSError, ValueError, KeyError, TypeError):
            conn.close()
            return
        if rank in self.conns:  # it came back after a lost connection
            self.conns[rank].close()
        self.conns[rank] = conn
        ip = ip.removeprefix("::ffff:")  # a peer may have no IPv6 at all
        self.people[rank] = {"rank": rank, "host": str(hello["host"]), "ip": ip, "port": int(hello["port"])}

    def tell(self, message):
        for conn in self.conns.values():
            try:
                send(conn, message)
            except OSError:
                pass  # its own time-out will tell

    def close(self):
        self.server.close()
        for conn in self.conns.values():
            conn.close()

    def gather(self, seconds):
        """One message of every rank; a rank that is silent is in the second result."""
        deadline = time.monotonic() + seconds
        told, silent = {}, []
        for rank in sorted(self.conns):
            try:
                told[rank] = receive(self.conns[rank], deadline)
            except (OSError, ValueError):
                silent.append(rank)
        return told, silent


def check_in(rank, token, master, port, mesh_port, host, seconds):
    """Goes to rank 0 and waits for its answer; returns the connection and the answer."""
    deadline = time.monotonic() + seconds
    reason = "no attempt was made"
    while time.monotonic() < deadline:
        conn = None
        try:
            conn = socket.create_connection((master, port), timeout=CONNECT_SECONDS)
            send(conn, {"rank": rank, "token": token, "host": host, "port": mesh_port})
            # Rank 0 may have started later than we: it may wait longer, too.
            return conn, receive(conn, time.monotonic() + seconds + CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            if conn:
                conn.close()
            time.sleep(0.5)
    raise Trouble("rendezvous", f"rank 0 at {master}:{port}: {reason}", missing=[0])


# --- the mesh: every rank connects to every rank ------------------------------


class Door:
    """Answers the other ranks on a port of the kernel's choice, as NCCL would."""

    def __init__(self, token):
        self.token = token
        self.server = listen(0)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self):
        while True:
            try:
                conn, _ = self.server.accept()
            except OSError:
                return  # closed
            try:
                if receive(conn, time.monotonic() + CONNECT_SECONDS) == self.token:
                    send(conn, self.token)
            except (OSError, ValueError):
                pass
            conn.close()

    def close(self):
        self.server.close()


def knock(peer, token, master):
    """Reaches a peer's door; returns what is wrong, "" when nothing is."""
    address = (peer["ip"] or master, peer["port"])
    reason = ""
    for _ in range(CONNECT_TRIES):
        try:
            with socket.create_connection(address, timeout=CONNECT_SECONDS) as conn:
                send(conn, token)
                if receive(conn, time.monotonic() + CONNECT_SECONDS) == token:
                    return ""
                reason = "somebody else answered"
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
    return f"{peer['host']} at {address[0]}:{address[1]}: {reason}"


def knock_all(people, rank, token, master):
    """Reaches all peers at once; returns {rank: what is wrong}."""
    from concurrent.futures import ThreadPoolExecutor

    others = [peer for peer in people if peer["rank"] != rank]
    if not others:
        return {}
    with ThreadPoolExecutor(MESH_THREADS) as pool:
        answers = pool.map(lambda peer: knock(peer, token, master), others)
    return {peer["rank"]: wrong for peer, wrong in zip(others, answers) if wrong}


def meet(rank, world, token, master, port, host, seconds):
    """All ranks check in, reach each other and know it of each other, or Trouble."""
    if world == 1:
        return
    door = Door(token)
    try:
        if rank == 0:
            lead(world, token, master, port, host, door, seconds)
        else:
            follow(rank, token, master, port, host, door, seconds)
    finally:
        door.close()


def mesh_seconds(world):
    rounds = -(-world // MESH_THREADS)
    return 10 + rounds * CONNECT_TRIES * CONNECT_SECONDS * 2


def lead(world, token, master, port, host, door, seconds):
    hall = Hall(world, token, port, door.port, host)
    try:
        lead_through(hall, world, token, master, seconds)
    finally:
        hall.close()


def lead_through(hall, world, token, master, seconds):
    missing = hall.wait(seconds)
    people = [hall.people[rank] for rank in sorted(hall.people)]
    hall.tell({"missing": missing, "people": people})
    if missing:
        raise Trouble("rendezvous", f"waited {seconds:.0f} s at port {hall.port}", missing=missing)
    own = knock_all(people, 0, token, master)
    told, silent = hall.gather(mesh_seconds(world))
    bad = bool(own or silent or any(told.values()))
    hall.tell({"bad": bad})
    if own:
        raise Trouble("init", "no TCP connection to " + "; ".join(own.values()), missing=own)
    if silent:
        raise Trouble("init", "ranks fell silent while connecting to their peers", missing=silent)
    if bad:
        raise Trouble("init", "other ranks did not reach each other", echo=True)


def follow(rank, token, master, port, host, door, seconds):
    conn, answer = check_in(rank, token, master, port, door.port, host, seconds)
    with conn:
        follow_through(conn, answer, rank, token, master)


def follow_through(conn, answer, rank, token, master):
    if answer["missing"]:
        raise Trouble("rendezvous", "rank 0 says so", missing=answer["missing"], echo=True)
    own = knock_all(answer["people"], rank, token, master)
    try:
        send(conn, {str(peer): wrong for peer, wrong in own.items()})
        verdict = receive(conn, time.monotonic() + 2 * mesh_seconds(len(answer["people"])))
    except (OSError, ValueError) as error:
        raise Trouble("init", f"lost rank 0: {error}", missing=own or [0]) from error
    if own:
        raise Trouble("init", "no TCP connection to " + "; ".join(own.values()), missing=own)
    if verdict["bad"]:
        raise Trouble("init", "other ranks did not reach each other", echo=True)


# --- the keeper: starts the processes and watches over them -------------------


def describe_machine():
    """Versions and backend; without torch the program ends here, unstarted."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    nccl = gpus >= PROCS and torch.distributed.is_nccl_available()
    return {
        "backend": "nccl" if nccl else "gloo",
        "torch": torch.__version__,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if nccl else "",
        "device": torch.cuda.get_device_name(0) if nccl else "cpu",
    }


def keep():
    machine = describe_machine()
    emit(event="start", rank=RANK, world=WORLD, procs=PROCS, host=HOST, **machine)
    try:
        meet(RANK, WORLD, TOKEN, MASTER, PORT, HOST, MEET_SECONDS)
        return run_processes(machine["backend"])
    except Trouble as trouble:
        emit_trouble(trouble)
        return 1


def run_processes(backend):
    """One process per GPU; the first that fails ends the others of this pod."""
    running = []
    for local in range(PROCS):
        env = dict(os.environ, COMMTEST_LOCAL=str(local), COMMTEST_BACKEND=backend)
        running.append(subprocess.Popen([sys.executable, "-u", os.path.abspath(__file__)], env=env))
    # The processes watch their own time; this is for one that cannot.
    deadline = time.monotonic() + RUN_SECONDS + 10
    try:
        while any(process.poll() is None for process in running):
            if any(process.poll() for process in running):
                time.sleep(2)  # the others may have something to say
                return 1
            if time.monotonic() > deadline:
                raise Trouble("collective", f"a process did not end in {RUN_SECONDS:.0f} s and could not say why")
            time.sleep(0.05)
        return 1 if any(process.returncode for process in running) else 0
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()


# --- the work: one process per GPU ---------------------------------------------


class Watch:
    """Ends the process when its time is up, saying in which phase it hung.

    NCCL may hang for ever in native code; a thread can still speak then.
    """

    def __init__(self, seconds):
        self.phase = "init"
        self.timer = threading.Timer(seconds, self.expire, args=(seconds,))
        self.timer.daemon = True
        self.timer.start()

    def expire(self, seconds):
        emit_trouble(Trouble(self.phase, f"no progress, gave up after {seconds:.0f} s"))
        os._exit(1)


def work(local, backend):
    watch = Watch(RUN_SECONDS)
    try:
        sweep(local, backend, watch)
    except Trouble as trouble:
        emit_trouble(trouble)
        return 1
    except Exception as error:  # torch reports network faults as plain RuntimeErrors
        emit_trouble(Trouble(watch.phase, f"GPU {local}: {type(error).__name__}: {error}"))
        return 1
    finally:
        watch.timer.cancel()
    return 0


def sweep(local, backend, watch):
    import datetime

    import torch
    import torch.distributed as dist

    device = torch.device("cuda", local) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    own = own_work(torch, device)
    process, processes = RANK * PROCS + local, WORLD * PROCS
    dist.init_process_group(
        backend,
        init_method=f"tcp://{MASTER}:{PORT + 1}",
        rank=process,
        world_size=processes,
        timeout=datetime.timedelta(seconds=RUN_SECONDS),
    )
    dist.all_reduce(torch.ones(1, device=device))  # NCCL connects on first use
    watch.phase = "collective"
    for size in SIZES:
        check_sums(torch, dist, device, size, process, processes, watch)
        seconds = time_one(torch, dist, device, size)
        if process == 0:
            report_point(size, seconds, processes)
    emit(event="rank", rank=RANK, local=local, host=HOST, seconds=round(own, 6))
    if process == 0:
        emit(event="end", rank=0, ok=True, world=WORLD)
    dist.barrier()
    dist.destroy_process_group()


def synchronize(torch, device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def own_work(torch, device):
    """Seconds for copies that touch no network: a slow GPU or host shows here,
    whereas in a collective all ranks wait for the slowest."""
    data = torch.ones(1 << 24, device=device)
    copy = torch.empty_like(data)
    started = time.perf_counter()
    for _ in range(20):
        copy.copy_(data)
        data.to("cpu")
    synchronize(torch, device)
    return time.perf_counter() - started


def check_sums(torch, dist, device, size, process, processes, watch):
    """Every element differs from its neighbour, and sums stay exact in float32."""
    count = size // 4
    pattern = torch.arange(count, device=device, dtype=torch.int32).remainder_(251).to(torch.float32)
    data = pattern + float(process)
    dist.all_reduce(data)
    expected = pattern.mul_(float(processes)).add_(processes * (processes - 1) / 2)
    wrong = torch.count_nonzero(data != expected).to(torch.int64).reshape(1)
    mine = int(wrong.item())
    dist.all_reduce(wrong)
    if int(wrong.item()) == 0:
        return
    watch.phase = "check"
    detail = f"{mine} wrong elements here, {int(wrong.item())} in all, in the sum of {size} bytes"
    raise Trouble("check", detail, echo=mine == 0)


def time_one(torch, dist, device, size):
    """Seconds of one all-reduce, the mean over some, of the slowest process."""
    data = torch.zeros(size // 4, device=device)
    rounds = 20 if size <= 1 << 28 else 5
    for _ in range(5):
        dist.all_reduce(data)
    synchronize(torch, device)
    dist.barrier()
    started = time.perf_counter()
    for _ in range(rounds):
        dist.all_reduce(data)
    synchronize(torch, device)
    mean = torch.tensor([(time.perf_counter() - started) / rounds], dtype=torch.float64, device=device)
    dist.all_reduce(mean, op=dist.ReduceOp.MAX)
    return float(mean.item())


def bus_bandwidth(size, seconds, processes):
    """GB/s that each process's link carries: an all-reduce moves every byte
    2(n-1)/n times over it; with one process nothing moves."""
    return size / seconds * 2 * (processes - 1) / processes / 1e9


def report_point(size, seconds, processes):
    emit(
        event="point",
        op="all_reduce",
        bytes=size,
        time_ms=round(seconds * 1e3, 6),
        busbw_gbps=round(bus_bandwidth(size, seconds, processes), 3),
        wrong=0,
    )


if __name__ == "__main__":
    if LOCAL is None:
        sys.exit(keep())
    sys.exit(work(int(LOCAL), os.environ.get("COMMTEST_BACKEND", "gloo")))
