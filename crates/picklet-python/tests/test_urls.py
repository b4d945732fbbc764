"""Segments at URLs and compressed segments, from Python.

S3 is moto's server on this machine; where it is not installed those tests are skipped, unless
``PICKLET_REQUIRE_S3`` is set.
"""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import picklet
import pytest


def test_a_url_is_taken_wherever_a_directory_is() -> None:
    numbers = picklet.split(range(100), "memory://python/in", count=30)
    assert [len(segment) for segment in numbers] == [30, 30, 30, 10]
    assert numbers.location == "memory://python/in"
    assert numbers.items[77] == 77
    with pytest.raises(ValueError, match="has no path"):
        _ = numbers.path
    squares = numbers.map(
        lambda segment: [n * n for n in segment], "memory://python/out", workers=0
    )
    assert picklet.open("memory://python/out").load() == [n * n for n in range(100)]
    squares.append([-1])
    assert squares.verify().good
    assert squares.items[-1] == -1
    assert squares.repair().lost == {}


def test_a_url_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="ftp://"):
        picklet.open("ftp://somewhere/else")


@pytest.mark.parametrize("compress", ["zstd", "gzip"])
def test_compressed_segments_are_read_mapped_and_joined(tmp_path: Path, compress: str) -> None:
    words = [f"word {n}" * 5 for n in range(1000)]
    stored = picklet.split(words, tmp_path / "in", count=300, compress=compress, sha256=True)  # type: ignore[arg-type]
    ending = {"zstd": ".pickle.zst", "gzip": ".pickle.gz"}[compress]
    assert all(path.name.endswith(ending) for path in stored.paths)
    assert stored.load() == words
    assert stored.items[777] == words[777]
    assert (tmp_path / "in" / "SHA256SUMS").read_text().count("\n") == 4
    if compress == "gzip":
        with gzip.open(stored.paths[0]) as file:
            assert pickle.load(file) == words[:300]
    upper = stored.map(_upper, tmp_path / "out", workers=2, compress=compress)  # type: ignore[arg-type]
    assert [path.name for path in upper.paths] == [path.name for path in stored.paths]
    plain = upper.map(_upper, tmp_path / "plain", workers=2)
    assert plain.paths[0].name == "data-00000.pickle"
    assert plain.load() == [word.upper() for word in words]
    stored.append(["one more"])
    assert stored.paths[-1].name == f"data-00004{ending}"
    stored.merge(tmp_path / "merged.pickle")
    assert pickle.loads((tmp_path / "merged.pickle").read_bytes()) == [*words, "one more"]
    assert stored.verify().good


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'zstd' or 'gzip'"):
        picklet.split([1], tmp_path / "in", compress="lzma")  # type: ignore[arg-type]


def _upper(segment: list[str]) -> list[str]:
    return [word.upper() for word in segment]


def test_several_processes_append_one_after_another(tmp_path: Path) -> None:
    picklet.split([[0]], tmp_path / "in", count=1)
    program = "import picklet, sys; picklet.open(sys.argv[1]).append([int(sys.argv[2])])"
    for number in range(1, 6):
        subprocess.run([sys.executable, "-c", program, tmp_path / "in", str(number)], check=True)
    assert picklet.open(tmp_path / "in").load() == [[0], 1, 2, 3, 4, 5]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a bucket of this machine's own."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        if "PICKLET_REQUIRE_S3" in os.environ:
            raise
        pytest.skip("no moto: pip install 'moto[server]'")
    import urllib.request

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    name = f"python-{port}"
    scope = "Credential=test/20240101/us-east-1/s3/aws4_request"
    request = urllib.request.Request(
        f"http://{host}:{port}/{name}",
        method="PUT",
        headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"},
    )
    urllib.request.urlopen(request).close()
    yield f"s3://{name}"
    server.stop()


def test_workers_read_from_a_bucket_and_publish_to_it(bucket: str) -> None:
    words = picklet.split([f"word {n}" for n in range(500)], f"{bucket}/in", count=100)
    upper = words.map(_upper, f"{bucket}/out", workers=2)
    assert upper.load() == [f"WORD {n}" for n in range(500)]
    program = [sys.executable, "-m", "picklet"]
    listed = subprocess.run(
        [*program, "ls", f"{bucket}/out", "--json"], check=True, capture_output=True
    )
    assert b"data-00004.pickle" in listed.stdout
    got = subprocess.run([*program, "get", f"{bucket}/out", "321"], check=True, capture_output=True)
    assert b"WORD 321" in got.stdout
    mapped = [
        *program,
        "map",
        f"{bucket}/out",
        "-o",
        f"{bucket}/copy",
        "-j",
        "2",
        "--",
        "cat",
        "{}",
    ]
    subprocess.run(mapped, check=True, capture_output=True)
    subprocess.run([*program, "verify", f"{bucket}/copy"], check=True)
    assert picklet.open(f"{bucket}/copy").load() == upper.load()


def test_every_command_that_takes_a_directory_takes_a_url(bucket: str, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    numbers = tmp_path / "숫자.pickle"
    numbers.write_bytes(pickle.dumps(list(range(1000))))
    np.save(tmp_path / "tall.npy", np.arange(600, dtype="u1").reshape(30, 20))
    (tmp_path / "doubles.py").write_text(
        "def process_segment(segment):\n    return [2 * n for n in segment]\n"
    )

    def run(*arguments: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "picklet", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return done.stdout

    call = ["--call", "doubles:process_segment", "-j", "2"]
    run("split", "숫자.pickle", "-o", f"{bucket}/수", "--count", "300", "--sha256")
    run("map", f"{bucket}/수", "-o", f"{bucket}/doubled", *call)
    run("run", "숫자.pickle", "-o", f"{bucket}/at-once", "--count", "250", *call)
    doubled = [2 * n for n in range(1000)]
    assert picklet.open(f"{bucket}/doubled").load() == doubled
    assert picklet.open(f"{bucket}/at-once").load() == doubled
    run("resplit", f"{bucket}/doubled", "-o", f"{bucket}/anew", "--count", "100")
    assert "10 segments" in run("ls", f"{bucket}/anew")
    run("merge", f"{bucket}/anew", "-o", "merged.pickle")
    assert pickle.loads((tmp_path / "merged.pickle").read_bytes()) == doubled
    assert run("cat", f"{bucket}/anew").splitlines() == [str(n) for n in doubled]
    assert run("get", f"{bucket}/anew", "777").split() == ["1554"]
    assert run("get", f"{bucket}/anew", "-1").split() == ["1998"]
    assert "1,000" in run("info", f"{bucket}/anew")
    assert "clean" in run("scan", f"{bucket}/anew")
    run("verify", f"{bucket}/anew", "--deep")
    run("split", "tall.npy", "-o", f"{bucket}/tiles", "--tile", "10x10", "--overlap", "2")
    run("preview", f"{bucket}/tiles", "-o", "preview.png")
    run("stitch", f"{bucket}/tiles", "-o", "back.npy")
    assert (np.load(tmp_path / "back.npy") == np.load(tmp_path / "tall.npy")).all()

    # A segment is damaged: found, told, set aside, and made again by the same command.
    directory = f"{bucket}/수"
    whole = picklet.open(directory)[1]
    _spoil(directory, "data-00001.pickle")
    assert "data-00001" in run("verify", directory, status=1)
    assert "data-00001" in run("repair", directory, status=1)
    run("split", "숫자.pickle", "-o", directory, "--count", "300", "--sha256", "--resume")
    assert picklet.open(directory)[1] == whole
    run("verify", directory)


def _spoil(directory: str, name: str) -> None:
    """Overwrites an object as something other than picklet would."""
    import boto3

    bucket, _, key = directory.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    body = client.get_object(Bucket=bucket, Key=f"{key}/{name}")["Body"].read()
    client.put_object(Bucket=bucket, Key=f"{key}/{name}", Body=body[:-1] + b"?")
