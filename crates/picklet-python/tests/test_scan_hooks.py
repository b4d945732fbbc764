"""docs/scan.md's hook for pre-commit and its job for CI, run as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
pytest.importorskip("pre_commit")

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "scan.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
BAD = b"cos\nsystem\n(S'true'\ntR."
CLEAN = b"\x80\x04N."


def run(command, folder, **more):
    """Run it where `picklet` is this environment's, and git reads nobody's settings."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    home = {"PRE_COMMIT_HOME": str(folder / ".pre-commit")}
    environment = {**os.environ, **nobody, **home, "PATH": path}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **more
    )


def test_the_hook_of_the_page_stops_a_commit_of_a_pickle_that_runs_something(tmp_path):
    config = next(block for block in BLOCKS if "repos" in block)
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "good.pkl").write_bytes(CLEAN)
    assert run(["git", "init", "-q"], tmp_path).returncode == 0
    run(["git", "add", "good.pkl", ".pre-commit-config.yaml"], tmp_path)
    hook = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    clean = run(hook, tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert "Passed" in clean.stdout
    (tmp_path / "bad name.pkl").write_bytes(BAD)
    run(["git", "add", "."], tmp_path)
    stopped = run(hook, tmp_path)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert "os.system" in stopped.stdout


def test_the_repositorys_hook_is_the_pages_hook_and_is_whole(tmp_path):
    hooks = ROOT / ".pre-commit-hooks.yaml"
    checked = run([sys.executable, "-m", "pre_commit", "validate-manifest", str(hooks)], tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (hook,) = yaml.safe_load(hooks.read_text(encoding="utf-8"))
    (local,) = next(block for block in BLOCKS if "repos" in block)["repos"][0]["hooks"]
    for key in ("id", "name", "entry", "require_serial"):
        assert hook[key] == local[key], key
    # The page's example looks at no file that the repository's does not.
    names = ["a.pkl", "a.pickle", "a.joblib", "a.pt", "a.pth", "a.npy", "a.npz"]
    for name in names:
        assert re.search(hook["files"], name), name
        assert re.search(local["files"], name), name


def test_the_job_of_the_page_fails_on_findings_and_writes_sarif(tmp_path):
    job = next(block for block in BLOCKS if "jobs" in block)["jobs"]["scan"]
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert steps[0] == "pip install picklet"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "good.pkl").write_bytes(CLEAN)
    for bad, code in [(False, 0), (True, 1)]:
        if bad:
            (tmp_path / "models" / "bad.pkl").write_bytes(BAD)
        ran = run(["bash", "-e", "-c", "\n".join(steps[1:])], tmp_path)
        assert ran.returncode == code, ran.stderr
        written = next(s["with"]["sarif_file"] for s in job["steps"] if "with" in s)
        report = json.loads((tmp_path / written).read_text())
        assert report["version"] == "2.1.0"
        assert bool(report["runs"][0]["results"]) is bad
