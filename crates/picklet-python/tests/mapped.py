"""Functions that the tests map, in a module that workers can import."""

import os
import signal
import sys
import threading
import time


def total(segment):
    return sum(segment)


def process_id(segment):
    return os.getpid()


def process_and_sum(segment):
    return os.getpid(), sum(segment)


def thread_and_process(segment):
    return threading.get_ident(), os.getpid()


def fail_on_7(segment):
    if 7 in segment:
        raise LookupError("칠은 안 됩니다")
    return segment


class Strange(Exception):
    """An exception that does not pickle and does not print."""

    def __init__(self, one, two):
        super().__init__(one)

    def __str__(self):
        raise RuntimeError("no")


def raise_strange(segment):
    raise Strange(1, 2)


def exit_now(segment):
    sys.exit(5)


def die(segment):
    os.kill(os.getpid(), signal.SIGKILL)


def hang(segment):
    time.sleep(3600)


def hang_loudly(segment):
    """Say that it hangs, in a folder that the test knows."""
    open(os.path.join(os.environ["PICKLET_TAG"], "hanging"), "w").close()
    time.sleep(3600)


def chatter(segment):
    print("서울에서 " * 3)
    print("to stderr", file=sys.stderr)
    os.write(1, b"to descriptor 1\n")
    return len(segment)


def give_what_does_not_pickle(segment):
    return lambda: segment


def told(segment, info):
    return info.name, info.index, info.first_item, info.items, os.path.basename(info.path)


def told_by_keyword(segment, *, segment_info):
    return segment_info.index


class Method:
    factor = 3

    @staticmethod
    def static(segment):
        return len(segment)

    @classmethod
    def scaled(cls, segment):
        return len(segment) * cls.factor

    def bound(self, segment):
        return len(segment) * self.factor

    def __call__(self, segment):
        return -len(segment)
