"""Meets real processes over loopback with the functions of the script."""

import multiprocessing
import os
import socket
import unittest

import events
import meet
import sweep


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def one(rank, world, port, token, seconds, deaf, results):
    meet.CONNECT_SECONDS = 0.5
    if deaf:  # its own door never answers, as behind a policy
        meet.Door.answer = lambda self: None
    try:
        meet.meet(rank, world, token, "127.0.0.1", port, f"host-{rank}", seconds)
        results.put((rank, "met", [], False))
    except events.Trouble as trouble:
        results.put((rank, trouble.phase, trouble.missing, trouble.echo))


def play(world, absent=(), strangers=(), deaf=(), seconds=2.0):
    port, results = free_port(), multiprocessing.Queue()
    running = []
    for rank in range(world):
        if rank in absent:
            continue
        token = "stranger" if rank in strangers else "token"
        args = (rank, world, port, token, seconds, rank in deaf, results)
        running.append(multiprocessing.Process(target=one, args=args))
        running[-1].start()
    answers = dict((rank, rest) for rank, *rest in (results.get(timeout=60) for _ in running))
    for process in running:
        process.join()
    return answers


class Meeting(unittest.TestCase):
    def test_all_come(self):
        for world in (1, 2, 5):
            answers = play(world)
            self.assertEqual({rank: ["met", [], False] for rank in range(world)}, answers)

    def test_one_is_missing(self):
        answers = play(4, absent=[2])
        self.assertEqual(["rendezvous", [2], False], answers[0])
        self.assertEqual(["rendezvous", [2], True], answers[1])
        self.assertEqual(["rendezvous", [2], True], answers[3])

    def test_rank_0_is_missing(self):
        answers = play(3, absent=[0], seconds=1.0)
        self.assertEqual({1: ["rendezvous", [0], False], 2: ["rendezvous", [0], False]}, answers)

    def test_a_stranger_is_not_a_rank(self):
        answers = play(3, strangers=[2], seconds=2.0)
        self.assertEqual(["rendezvous", [2], False], answers[0])
        self.assertEqual(["rendezvous", [0], False], answers[2])

    def test_one_cannot_be_reached(self):
        answers = play(3, deaf=[1])
        self.assertEqual(["init", [1], False], answers[0])
        self.assertEqual(["init", [1], False], answers[2])
        self.assertEqual(["init", [], True], answers[1])

    def test_bandwidth_formula(self):
        # 1 GB in 10 ms among 8: 100 GB/s of data; on the bus by collective.
        for kind, want in ((sweep.AllReduce, 175.0), (sweep.AllGather, 87.5), (sweep.SendRecv, 100.0)):
            self.assertAlmostEqual(want, sweep.bus_bandwidth(kind, 1e9, 0.01, 8))
        self.assertEqual(0.0, sweep.bus_bandwidth(sweep.AllReduce, 1e9, 0.01, 1))

    def test_what_a_peer_left_is_an_echo(self):
        # Lines of gloo (torch 1.13, recorded) and of NCCL 2.2x through torch.
        for text, echo, late in (
            ("[./gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:1684", True, False),
            ("ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.", True, False),
            ("ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.", False, False),
            ("TimeoutError: The client socket has timed out after 60s while trying to connect to (10.0.0.1, 29501).", False, True),
        ):
            self.assertEqual((echo, late), (events.is_echo(text), events.is_timeout(text)), text)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    unittest.main()
