"""A canary: reading segments imports and runs nothing that a pickle in them names."""

import pickle
import subprocess
import sys
import textwrap

import picklet


class Trap:
    """Its pickle would make a folder where it is loaded."""

    def __reduce__(self):
        import os

        return os.mkdir, ("sprung",)


def test_nothing_of_a_blocked_segment_runs_on_any_way_to_its_items(tmp_path):
    picklet.split([{"x": 1}, Trap(), {"x": 2}], "in", count=2)
    (tmp_path / "trap.pickle").write_bytes(pickle.dumps([[Trap()], 1, 2]))
    script = """
    import sys
    import picklet
    segments = picklet.open('in')
    ways = [
        lambda: segments[0], segments.load, lambda: segments.items[1], lambda: segments.items[:],
        lambda: list(segments.items), lambda: 5 in segments.items,
        lambda: segments.map(len, 'out', workers=0),
    ]
    watched = ('import', 'compile', 'exec', 'os.mkdir', 'os.system', 'subprocess.Popen')
    seen = []
    armed = False
    sys.addaudithook(lambda event, args: armed and event in watched and seen.append((event, args)))
    for n, way in enumerate(ways):
        armed = n < 6          # map makes folders of its own
        try:
            way()
        except (picklet.UntrustedGlobalError, picklet.SegmentError) as error:
            armed = False
            assert 'mkdir' in str(error), error
        else:
            raise AssertionError(f'way {n} was not refused')
    assert seen == [], seen
    picklet.split('trap.pickle', 'cut', count=1).merge('again.pickle')
    assert picklet.open('cut').verify().good
    print('safe')
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "safe\n", done.stderr
    assert not (tmp_path / "sprung").exists()
