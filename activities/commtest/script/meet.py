"""The check-in of the ranks, before torch or NCCL are asked for anything.

Every rank reports to rank 0, so that rank 0 can name those that did not come;
then every rank connects to every other on a port of the kernel's choice, as
NCCL does, so that a blocked direction is named too. Standard library only.
"""

import json
import socket
import threading
import time

from events import Trouble

CONNECT_SECONDS = 5.0  # one attempt to connect
CONNECT_TRIES = 3  # attempts to reach a peer that has met us a moment ago
MESH_THREADS = 32
LONGEST = 1 << 22  # bytes of one message between ranks

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
