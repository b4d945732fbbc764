"""Starts a worker as the engine would, gives it a task that never ends, and is killed.

The worker's standard error is ours; whoever reads it sees its end when both are gone.
"""

import json
import os
import signal
import subprocess
import sys

worker = subprocess.Popen(
    [sys.executable, "-m", "picklet.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)


def send(message):
    data = json.dumps(message).encode()
    worker.stdin.write(len(data).to_bytes(4, "little") + data)
    worker.stdin.flush()


send(
    {
        "protocol": 2,
        "parent": os.getpid() if sys.argv[2] == "direct" else 1,
        "function": {"call": "mapped:hangs_always"},
        "form": "segment",
        "sys_path": [],
        "policy": {"allow": [], "trust": False},
        "output": {"directory": "/nowhere", "session": "none"},
    }
)
worker.stdout.read(4)
send(
    {
        "task": 0,
        "name": "a",
        "index": 0,
        "path": sys.argv[1],
        "first_item": 0,
        "items": 1,
        "more": [],
        "window": None,
        "output": "a.pickle",
        "outputs": [],
        "next": None,
    }
)
os.set_blocking(worker.stdout.fileno(), True)
sys.stderr.flush()
# The worker says so itself when the function runs; then it is our turn to die.
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
