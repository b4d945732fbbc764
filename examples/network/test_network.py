"""The server and the client talk over loopback, and the server refuses to run anything."""

import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture
def server():
    """A running server: (process, port)."""
    process = subprocess.Popen(
        [sys.executable, HERE / "server.py"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, int(process.stdout.readline().split()[-1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_messages_follow_one_another_on_one_connection(server):
    _, port = server
    client = subprocess.run(
        [sys.executable, HERE / "client.py", str(port)], capture_output=True, text=True, timeout=60
    )
    assert client.stdout.splitlines() == [
        "{'count': 3, 'sum': 3}",
        "{'count': 10, 'sum': 45}",
        "{'count': 100000, 'sum': 4999950000}",
    ], client.stderr


class Attack:
    """An object whose pickle would run a command where it is loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def test_a_pickle_that_would_run_something_is_refused(server, tmp_path):
    process, port = server
    trace = tmp_path / "ran"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(pickle.dumps(Attack(f"touch {trace}")))
        assert process.stdout.readline().startswith("refused: ")
        assert connection.recv(1) == b""
    assert not trace.exists()
