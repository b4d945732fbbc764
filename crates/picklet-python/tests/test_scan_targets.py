"""What `picklet scan` can be pointed at: many files with a bar, a web server, segments by URL."""

import functools
import http.server
import json
import os
import pickle
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import picklet
import pytest

PICKLET = str(Path(sys.executable).with_name("picklet"))
CALL = b"cos\nsystem\n(S'true'\ntR."


def scan(*args, **more):
    command = [PICKLET, "scan", *args]
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **more)


def test_thousands_of_files_are_scanned_with_a_bar_on_a_terminal_and_none_elsewhere(tmp_path):
    for number in range(3000):
        folder = tmp_path / "many" / f"{number % 50}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath(f"{number}.pkl").write_bytes(pickle.dumps({"number": number}))
    (tmp_path / "many" / "7" / "odd.txt").write_bytes(CALL)
    ran = scan("-j", "2", "many", cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr == b""
    lines = ran.stdout.decode().splitlines()
    assert lines[0].startswith("many/7/odd.txt: dangerous")
    assert lines[-1] == "3,001 files scanned: 1 dangerous, 3,000 clean"
    terminal, end = pty.openpty()
    drawn = bytearray()

    def read():
        # A terminal that nobody writes to any more ends with an error on Linux.
        try:
            while more := os.read(terminal, 1 << 16):
                drawn.extend(more)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    command = [PICKLET, "scan", "many"]
    environment = {**os.environ, "TERM": "xterm"}
    shown = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=end, env=environment, check=False
    )
    os.close(end)
    reader.join(timeout=60)
    os.close(terminal)
    assert shown.stdout == ran.stdout
    assert b"/3001 files" in drawn


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Gives parts of files, as web servers do and Python's own does not."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.send(body=True)

    def do_HEAD(self):
        self.send(body=False)

    def send(self, body):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        begin, end, size = 0, len(data) - 1, len(data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            begin, end = int(asked[1]), min(int(asked[2] or end), end)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end + 1 - begin))
        self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
        self.end_headers()
        if body:
            self.wfile.write(data[begin : end + 1])


@pytest.fixture
def server(tmp_path):
    """A web server of the folder `web`."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(Ranges, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_url_is_scanned_as_a_file_is(server):
    folder, url = server
    (folder / "bad.pkl").write_bytes(CALL)
    (folder / "good.pkl").write_bytes(pickle.dumps(list(range(1000))))
    assert scan(f"{url}/good.pkl").returncode == 0
    bad = scan(f"{url}/bad.pkl", "--format", "json")
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["files"][0]["verdict"] == "dangerous"
    missing = scan(f"{url}/missing.pkl")
    assert missing.returncode == 2
    assert missing.stderr.count(b"\n") == 1


@pytest.mark.parametrize("by_url", [False, True])
def test_each_segment_of_a_segments_directory_is_scanned(server, by_url):
    folder, url = server
    picklet.split([{"id": number} for number in range(100)], folder / "out", count=10)
    target = f"{url}/out" if by_url else str(folder / "out")
    ran = scan(target, "--format", "json")
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["verdict"]) == (0, "clean"), report
    assert sum(file["pickles"] for file in report["files"]) == 10
    # As long as the manifest says, so that only its bytes tell.
    segment = folder / "out" / "data-00003.pickle"
    segment.write_bytes(CALL.ljust(segment.stat().st_size, b"\0"))
    ran = scan(target, "--format", "json")
    assert ran.returncode == 1
    bad = [file for file in json.loads(ran.stdout)["files"] if file["verdict"] == "dangerous"]
    assert [Path(file["path"]).name for file in bad] == ["data-00003.pickle"]
