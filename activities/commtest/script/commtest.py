"""Communication test of one group of nodes: one pod per node, one process per GPU.

The pod's first process (the keeper) meets the other pods, checks that every
pod reaches every other by TCP (meet.py), and only then starts one process per
GPU, itself or through torchrun, which run the sweep with torch.distributed
(sweep.py). A pod is a rank; events on standard output are
JSON objects, one a line. Exit code 0 means that the sweep ended well.

Only the standard library is needed until all ranks have met, so that whoever
is missing is named by us and not hidden in a library's time-out.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

import sweep
from events import RANK, Trouble, emit, emit_trouble
from meet import meet

WORLD = int(os.environ.get("NNODES", "1"))
PROCS = int(os.environ.get("NPROC_PER_NODE", "1"))
HOST = os.environ.get("NODE_NAME") or socket.gethostname()
MASTER = os.environ.get("MASTER_ADDR", "localhost")
PORT = int(os.environ.get("MASTER_PORT", "29500"))
TOKEN = os.environ.get("COMMTEST_TOKEN", "")
MEET_SECONDS = float(os.environ.get("COMMTEST_MEET_SECONDS", "60"))
RUN_SECONDS = float(os.environ.get("COMMTEST_RUN_SECONDS", "120"))
LAUNCHER = os.environ.get("COMMTEST_LAUNCHER") or "own"  # or "torchrun"
WORKER = "COMMTEST_BACKEND"  # set in the processes that drive a GPU

LAST_WORDS_SECONDS = 2  # for the other processes of a pod, once one has failed


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
    emit(event="start", rank=RANK, world=WORLD, procs=PROCS, host=HOST, launcher=LAUNCHER, **machine)
    try:
        meet(RANK, WORLD, TOKEN, MASTER, PORT, HOST, MEET_SECONDS)
        with tempfile.TemporaryDirectory() as began:
            return watch_over(start(machine["backend"], began), began)
    except Trouble as trouble:
        emit_trouble(trouble)
        return 1


def start(backend, began):
    """One process per GPU, or the torchrun that starts them. Both get the
    environment that torch.distributed expects.

    torchrun's own rendezvous is the static one: everybody is known to be here.
    """
    env = dict(os.environ, COMMTEST_RANK=str(RANK), COMMTEST_BACKEND=backend, COMMTEST_BEGAN=began)
    program = os.path.abspath(__file__)
    if LAUNCHER == "torchrun":
        options = [f"--nnodes={WORLD}", f"--nproc_per_node={PROCS}", f"--node_rank={RANK}", "--max_restarts=0"]
        options += [f"--master_addr={MASTER}", f"--master_port={PORT + 1}"]
        return [launch(["torchrun", *options, program], env)]
    env.update(WORLD_SIZE=str(WORLD * PROCS), MASTER_ADDR=MASTER, MASTER_PORT=str(PORT + 1))
    running = []
    for local in range(PROCS):
        env.update(LOCAL_RANK=str(local), RANK=str(RANK * PROCS + local))
        running.append(launch([sys.executable, "-u", program], env))
    return running


def launch(command, env):
    try:
        return subprocess.Popen(command, env=env)
    except OSError as error:
        raise Trouble("launch", f"{command[0]}: {error}") from error


def watch_over(running, began):
    """The exit code; the first process that fails ends the others of this pod."""
    try:
        codes = wait_for(running)
    finally:
        end(running)
    if not os.listdir(began):  # the image is to blame, and no node
        raise Trouble("launch", f"{LAUNCHER} ended before any process of ours began")
    for number, code in enumerate(codes):
        if code is not None and code < 0:
            raise killed(number, -code)
    return 1 if any(codes) else 0


def wait_for(running):
    """The exit codes, None for processes that ran on when another had failed."""
    # The processes watch their own time; this is for one that cannot.
    deadline = time.monotonic() + RUN_SECONDS + 10
    while any(process.poll() is None for process in running):
        if any(process.poll() for process in running):
            time.sleep(LAST_WORDS_SECONDS)
            break
        if time.monotonic() > deadline:
            detail = f"a process did not end in {RUN_SECONDS:.0f} s and could not say why"
            raise Trouble("collective", detail, timed_out=True, entered=0)
        time.sleep(0.05)
    return [process.poll() for process in running]


def killed(number, signal):
    """A process that died without a word: of its pod's memory limit, or of a fault."""
    what = "torchrun" if LAUNCHER == "torchrun" else f"the process of GPU {number}"
    try:
        with open("/sys/fs/cgroup/memory.events") as events:
            out_of_memory = "oom_kill 0" not in events.read()
    except OSError:  # another version of cgroups, or none
        out_of_memory = False
    if signal == 9 and out_of_memory:
        return Trouble("memory", f"{what} was ended because the pod ran out of memory")
    return Trouble("died", f"{what} was ended by signal {signal}")


def end(running):
    """Ends what still runs; torchrun takes those it started with it when it is asked."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + 10
    for process in running:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def work():
    """The part of one GPU's process."""
    open(os.path.join(os.environ["COMMTEST_BEGAN"], os.environ["LOCAL_RANK"]), "w").close()
    place = sweep.Place(RANK, WORLD, PROCS, int(os.environ["LOCAL_RANK"]), HOST)
    watch = sweep.Watch(RUN_SECONDS)
    try:
        sweep.sweep(place, os.environ[WORKER], RUN_SECONDS, watch)
    except Exception as error:
        emit_trouble(sweep.trouble_of(error, place, watch))
        return 1
    finally:
        watch.end()
    return 0


if __name__ == "__main__":
    sys.exit(work() if WORKER in os.environ else keep())
