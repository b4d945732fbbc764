"""Functions that the engine's tests map: good ones, and all kinds of bad ones."""

import os
import signal
import sys
import threading
import time
import weakref


def double(segment):
    return [2 * x for x in segment]


def bad_at_two(segment):
    if 20 in segment:
        raise ValueError("no such city\nand a second line")
    return segment


def exits(segment):
    if 20 in segment:
        sys.exit(3)
    return segment


def exits_hard(segment):
    if 20 in segment:
        print("last words", file=sys.stderr)
        sys.stderr.flush()
        os._exit(7)
    return segment


def crashes(segment):
    if 20 in segment:
        os.kill(os.getpid(), signal.SIGSEGV)
    return segment


def killed_once(segment):
    """Dies the first time, as if the out-of-memory killer had picked the wrong process."""
    if 20 in segment:
        try:
            os.close(os.open(os.environ["ONCE"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return segment
        os.kill(os.getpid(), signal.SIGKILL)
    return segment


def fails_once(segment):
    if 20 in segment:
        try:
            os.close(os.open(os.environ["ONCE"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return segment
        raise OSError("the network was away")
    return segment


class Held(list):
    """A list that can be referred to weakly."""


held = []


def says_what_is_still_held(segment):
    earlier = [ref() is not None for ref in held]
    mine = Held(segment)
    held.append(weakref.ref(mine))
    if 0 in segment:
        raise ValueError(mine)
    return earlier


def unpicklable(segment):
    return (lambda: segment) if 20 in segment else segment


class Nasty(Exception):
    """Neither pickles nor prints."""

    def __init__(self, a, b):
        self.lock = threading.Lock()

    def __str__(self):
        raise RuntimeError("no text")


def nasty(segment):
    if 20 in segment:
        raise Nasty(1, 2)
    return segment


def surrogates(segment):
    raise KeyError("lone \ud800 surrogate")


def prints_a_lot(segment):
    for _ in range(2000):
        print("x" * 500)
    sys.stdout.buffer.write(b"\x00\x01\x02\x03 raw bytes\n")
    sys.stdout.buffer.flush()
    os.write(1, b"straight to descriptor 1\n")
    return segment


def reads_stdin(segment):
    return [sys.stdin.read(), os.read(0, 10), *segment]


def forks_and_returns_twice(segment):
    os.fork()
    return segment


def forks_and_leaves_one(segment):
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    return segment


def leaves_a_thread(segment):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return segment


def hangs(segment):
    if 20 in segment:
        time.sleep(600)
    return segment


def hangs_loudly(segment):
    if 20 in segment:
        print("hanging", file=sys.stderr, flush=True)
        time.sleep(600)
    return segment


def hangs_always(segment):
    print("hanging", file=sys.stderr, flush=True)
    time.sleep(600)


def closes_everything(segment):
    os.closerange(3, 100)
    return segment


def with_info(segment, info):
    return [info.name, info.index, info.first_item, info.items]


def window(segment, info):
    return info.window


def with_named_info(segment, other=1, *, segment_info):
    return segment_info.name


def with_default(segment, factor=10):
    return [factor * x for x in segment]


def item(x):
    if x == 21:
        raise ValueError("bad item")
    return x + 1


def odd(x):
    return x % 2 == 1


def pieces(segment):
    for number in segment:
        yield [number] * 20 if number == 11 else number


def twenty(segment):
    yield from [segment[0]] * 20


def add(a, b):
    return a + b


not_a_function = 3
