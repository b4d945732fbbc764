"""Policies as values and as files: what they admit, wherever a load takes them."""

import operator
import pickle
import subprocess
import sys
from pathlib import Path

import graphs
import picklet
import pytest


def test_a_policy_admits_what_it_lists():
    data = pickle.dumps([graphs.Plain(1), graphs.Point(1, 2)])
    policy = picklet.Policy(allow=["graphs.Plain", "graphs.Point"])
    for allow in (policy, list(policy), picklet.Policy(allow="graphs.*")):
        assert picklet.loads(data, allow=allow)[1] == graphs.Point(1, 2)
    with pytest.raises(picklet.UntrustedGlobalError, match="Point"):
        picklet.loads(data, allow=picklet.Policy(allow="graphs.Plain"))


def test_a_policy_file_is_taken_wherever_names_are(empty_folder):
    data = pickle.dumps([graphs.Plain(1)])
    policy = picklet.Policy(allow=["graphs.Plain"])
    Path("policy.toml").write_text(policy.to_toml())
    assert picklet.Policy.read("policy.toml") == policy
    for allow in ("policy.toml", empty_folder / "policy.toml"):
        assert picklet.loads(data, allow=allow)[0].value == 1
        Path("data.pickle").write_bytes(data)
        with open("data.pickle", "rb") as file:
            assert picklet.load(file, allow=allow)[0].value == 1
        with open("data.pickle", "rb") as file:
            assert picklet.Unpickler(file, allow=allow).load()[0].value == 1
        segments = picklet.split("data.pickle", "out", count=1, overwrite=True)
        assert picklet.open(segments.path, allow=allow)[0][0].value == 1


def test_policies_are_joined_and_compared_by_what_they_list():
    one, other = picklet.Policy(allow=["a.b"]), picklet.Policy(allow=["c.d"], strict=True)
    both = one | other
    assert list(both) == ["a.b", "c.d"]
    assert both.strict
    assert not one.strict
    assert both == picklet.Policy(allow=["c.d", "a.b"], strict=True)
    assert hash(both) == hash(picklet.Policy(allow=["c.d", "a.b"], strict=True))
    assert both != one
    assert repr(both) == "Policy(allow=['a.b', 'c.d'], strict=True)"
    assert picklet.Policy.from_toml(both.to_toml()) == both
    with pytest.raises(TypeError):
        operator.or_(one, ["x.y"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("allow = [", "line 1"),
        ("allowed = []", "unknown field"),
        ("policies = ['tourch']", "tourch"),
        ("allow = ['os']", "os"),
        ("strict = true\nallow = ['shop.*']", "whole module"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said_in_one_line(empty_folder, text, says):
    with pytest.raises(ValueError, match=says):
        picklet.Policy.from_toml(text)
    Path("policy.toml").write_text(text)
    with pytest.raises(ValueError, match=r"policy\.toml") as caught:
        picklet.loads(b"N.", allow="policy.toml")
    assert "\n" not in str(caught.value)


def test_a_strict_policy_holds_no_whole_modules():
    with pytest.raises(ValueError, match="whole module"):
        picklet.Policy(allow=["graphs.*"], strict=True)
    with pytest.raises(ValueError, match="whole module"):
        picklet.Policy(allow=["graphs.*"]) | picklet.Policy(strict=True)


def test_a_policy_file_that_is_not_there_is_named():
    picklet.split([1], "out", count=1)
    with pytest.raises(ValueError, match=r"no/such\.toml"):
        picklet.open("out", allow="no/such.toml")


def test_the_program_takes_a_policy_file():
    Path("data.pickle").write_bytes(pickle.dumps([graphs.Plain(1), graphs.Plain(2)]))
    Path("jobs.py").write_text("def values(items): return [item.value for item in items]\n")
    Path("graphs.py").write_text(Path(graphs.__file__).read_text())
    Path("policy.toml").write_text("allow = ['graphs.Plain']\n")

    def run(*words):
        command = [sys.executable, "-m", "picklet", "run", "data.pickle", "-o", "out"]
        return subprocess.run(
            [*command, "--count", "1", "--call", "jobs:values", *words], capture_output=True
        )

    assert run("--policy", "missing.toml").returncode == 2
    assert b"graphs.Plain" in run().stderr
    done = run("--policy", "policy.toml")
    assert done.returncode == 0, done.stderr
    assert list(picklet.open("out")) == [[1], [2]]
