"""A worker process of ``map``: ``python -m picklet.worker``.

The engine starts it and talks to it over standard input and output: messages of a length (four
bytes, little-endian) and that much JSON. First comes ``hello``, which says what function to run;
then one task after another. The worker loads each segment's file itself, runs the function,
publishes the output itself, and sends a receipt. Objects never cross the pipes.

What the function does to this process must not reach the engine's pipes: they are moved to other
descriptors, so that what it prints goes to standard error and what it reads is empty; processes
that it forks close them. Exceptions travel as text, because not every exception pickles.

The worker ends with its parent, however that ends: by a signal that the kernel sends (Linux), and
by the end of the pipe.

It never imports the caller's ``__main__``: what lives there arrives through cloudpickle.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import itertools
import json
import os
import sys
import time
import traceback
import types
from collections.abc import Callable
from typing import Any, NoReturn

from picklet.segment_info import SegmentInfo

PROTOCOL_VERSION = 2

#: Tracebacks and messages are cut to so many characters, in the middle.
LONGEST_TEXT = 64 * 1024


class _ItemError(Exception):
    """Wraps what a function raised, with the place of the item it was called with."""

    def __init__(self, place: int, error: BaseException) -> None:
        super().__init__(place)
        self.place = place
        self.error = error


class Refusal(Exception):
    """The worker cannot work; the message is one line for the user."""


def find_function(function: dict[str, str]) -> Callable[..., Any]:
    """The function that ``hello`` asks for.

    Raises ``Refusal``, saying what is missing and where it was looked for.
    """
    pickled = function.get("cloudpickle")
    if pickled is not None:
        return _unpickle_function(bytes.fromhex(pickled))
    call = function["call"]
    module_name, colon, name = call.partition(":")
    if not colon or not module_name or not name:
        raise Refusal(f"{call!r} names no function; give it as module:function")
    import importlib

    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise Refusal(
                f"no module {error.name!r} for {call!r}; it was looked for in {os.getcwd()} and on "
                f"the path of {sys.executable} (set PYTHONPATH, or run where it is)"
            ) from None
        raise Refusal(f"importing {module_name!r} failed: {_line_of(error)}") from None
    except BaseException as error:
        raise Refusal(f"importing {module_name!r} failed: {_line_of(error)}") from None
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            where = getattr(found, "__file__", None) or module_name
            raise Refusal(f"no function {name!r} in module {module_name!r} ({where})") from None
    if not callable(found):
        raise Refusal(f"{call!r} is {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def _unpickle_function(pickled: bytes) -> Callable[..., Any]:
    # These bytes were made by the very process that asked for the map, from its own function, and
    # arrive through a pipe that only it writes to: they are as trusted as the code itself.
    import pickle

    try:
        function = pickle.loads(pickled)
    except ModuleNotFoundError as error:
        raise Refusal(
            f"the function needs the module {error.name!r}, which {sys.executable} does not have"
        ) from None
    except BaseException as error:
        raise Refusal(f"the function cannot be unpickled: {_line_of(error)}") from None
    if not callable(function):
        raise Refusal(f"{type(function).__name__} is not a function")
    # Classes of the caller's __main__ came along inside the function. Under their own name they
    # can be found again when an instance is loaded or pickled.
    main = sys.modules["__main__"]
    for name, value in dict(getattr(function, "__globals__", {})).items():
        if isinstance(value, type) and value.__module__ == "__main__" and not hasattr(main, name):
            setattr(main, name, value)
    return function  # type: ignore[no-any-return]


def takes_segment_info(function: Callable[..., Any]) -> str | None:
    """How the function wants the segment's info: ``"position"``, ``"keyword"`` or ``None``.

    It gets it when a second positional argument has no default, or when a parameter is named
    ``segment_info``.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p for p in parameters if p.name == "segment_info"]
    if named and named[0].kind in (named[0].KEYWORD_ONLY, named[0].POSITIONAL_OR_KEYWORD):
        return "keyword"
    if len([p for p in positional if p.default is p.empty]) >= 2:
        return "position"
    return None


#: How a function is called: the name of a form, or ``{"batch": items}``.
Form = str | dict[str, int]


def bind(function: Callable[..., Any], form: Form) -> Callable[[Any, SegmentInfo], Any]:
    """The function in the form ``run(segment, info)``, whatever it takes.

    ``form`` is ``segment`` (called once), ``outputs`` (called once, gives an iterator),
    ``items`` (called for each item; lists and other containers give a list, tuples a tuple, dicts
    take and give pairs), ``filter`` (the items for which it is true are kept) or ``batch`` (called
    with lists of so many items, dicts with dicts).
    """
    way = takes_segment_info(function)

    def call(argument: Any, info: SegmentInfo) -> Any:
        if way == "position":
            return function(argument, info)
        if way == "keyword":
            return function(argument, segment_info=info)
        return function(argument)

    if form == "segment":
        return call
    if form == "outputs":
        return lambda segment, info: _iterator(call(segment, info))
    if form in ("items", "filter"):
        return _each(call, form == "filter")
    if isinstance(form, dict) and form.get("batch", 0) > 0:
        return _batched(call, form["batch"])
    raise Refusal(f"unknown form {form!r}")


def _iterator(outputs: Any) -> Any:
    if not hasattr(outputs, "__next__"):
        kind = type(outputs).__name__
        raise TypeError(f"the function is to yield its outputs, and it returned a {kind}")
    return outputs


def _each(
    call: Callable[[Any, SegmentInfo], Any], is_filter: bool
) -> Callable[[Any, SegmentInfo], Any]:
    def each(segment: Any, info: SegmentInfo) -> Any:
        pairs = isinstance(segment, dict)
        outputs = []
        for place, item in enumerate(segment.items() if pairs else segment):
            try:
                output = call(item, info)
                keep = not is_filter or bool(output)
            except BaseException as error:
                raise _ItemError(place, error) from None
            if keep:
                outputs.append(item if is_filter else output)
        if is_filter and isinstance(segment, (set, frozenset)):
            return type(segment)(outputs)
        return _like(segment, outputs)

    return each


def _batched(
    call: Callable[[Any, SegmentInfo], Any], size: int
) -> Callable[[Any, SegmentInfo], Any]:
    def batches(segment: Any, info: SegmentInfo) -> Any:
        pairs = isinstance(segment, dict)
        items = iter(segment.items() if pairs else segment)
        outputs: list[Any] = []
        place = 0
        while batch := list(itertools.islice(items, size)):
            try:
                made = call(dict(batch) if pairs else batch, info)
                outputs.extend(made.items() if isinstance(made, dict) else made)
            except BaseException as error:
                raise _ItemError(place, error) from None
            place += len(batch)
        return _like(segment, outputs)

    return batches


def _like(segment: Any, outputs: list[Any]) -> Any:
    if isinstance(segment, dict):
        return dict(outputs)
    return tuple(outputs) if isinstance(segment, tuple) else outputs


class Worker:
    """The state of one worker process: what to run, how to load, where to publish."""

    output: dict[str, Any]
    raised: BaseException | None

    def __init__(self, hello: dict[str, Any]) -> None:
        """Find the function that ``hello`` asks for, or raise ``Refusal``."""
        protocol = hello.get("protocol")
        if protocol != PROTOCOL_VERSION:
            raise Refusal(
                f"this picklet speaks protocol {PROTOCOL_VERSION} and the engine {protocol}; "
                "install the same version of picklet for both"
            )
        known = set(hello["sys_path"])
        sys.path[:] = hello["sys_path"] + [p for p in sys.path if p not in known]
        self._prepare(find_function(hello["function"]), hello["form"], hello["policy"])
        self.output = hello["output"]

    @classmethod
    def in_process(cls, function: Callable[..., Any], form: Form, policy: dict[str, Any]) -> Worker:
        """The worker that a process is to itself. ``output`` is to be set before each task.

        ``raised`` is what the last failure was about.
        """
        worker = cls.__new__(cls)
        worker._prepare(function, form, policy)
        return worker

    def _prepare(self, function: Callable[..., Any], form: Form, policy: dict[str, Any]) -> None:
        import picklet

        self.load = picklet.load
        self.loads = picklet.loads
        self.dumps = picklet.dumps
        self.read_file = picklet._picklet.read_file
        self.publish = picklet._picklet.publish
        self.policy: dict[str, Any] = {}
        if policy["trust"]:
            self.policy["trust"] = True
        elif policy["allow"]:
            self.policy["allow"] = policy["allow"]
        self.output = {}
        self.raised = None
        self.several = form == "outputs"
        self.combine = function if form == "reduce" else None
        self.run = bind(function, "segment" if form == "reduce" else form)

    def process(self, task: dict[str, Any]) -> dict[str, Any]:
        """Runs one task and gives the message to send: a receipt or a failure."""
        began = time.perf_counter()
        try:
            return self._process(task, began)
        except BaseException as raised:
            item = None
            error = raised
            if isinstance(raised, _ItemError):
                error = raised.error
                if task["first_item"] is not None:
                    item = task["first_item"] + raised.place
            self.raised = error
            return {
                "type": "failed",
                "task": task["task"],
                "error": _name_of(error),
                "message": _message_of(error),
                "traceback": _traceback_of(error),
                "item": item,
                "seconds": time.perf_counter() - began,
                "peak_rss": peak_rss(),
            }

    def _process(self, task: dict[str, Any], began: float) -> dict[str, Any]:
        info = SegmentInfo(
            task["name"],
            task["index"],
            task["first_item"],
            task["items"],
            task["path"],
            task["window"],
        )
        segment = self._load(info.path, task["next"])
        clock = _Clock(began)
        outputs = []
        if self.combine is not None:
            load = clock.take()
            for path in task["more"]:
                other = self._load(path, None)
                load += clock.take()
                segment = self.combine(segment, other)
                del other
                clock.run += clock.take()
            outputs.append(self._publish(segment, task["output"]))
            del segment
        elif self.several:
            load = clock.take()
            results = self.run(segment, info)
            del segment
            names = task["outputs"]
            for result in results:
                clock.run += clock.take()
                if len(outputs) == len(names):
                    return {"type": "names", "task": task["task"], "needed": len(names) + 1}
                outputs.append(self._publish(result, names[len(outputs)]))
                del result
                clock.dump += clock.take()
            clock.run += clock.take()
        else:
            load = clock.take()
            result = self.run(segment, info)
            del segment
            clock.run += clock.take()
            outputs.append(self._publish(result, task["output"]))
            del result
        clock.dump += clock.take()
        return {
            "type": "done",
            "task": task["task"],
            "outputs": outputs,
            "load_seconds": load,
            "run_seconds": clock.run,
            "dump_seconds": clock.dump,
            "peak_rss": peak_rss(),
        }

    def _load(self, path: str, following: str | None) -> Any:
        if following is not None:
            _read_ahead(following)
        if not path.endswith(".pickle") or "://" in path:
            return self.loads(self.read_file(path), **self.policy)
        with open(path, "rb") as file:
            return self.load(file, **self.policy)

    def _publish(self, result: Any, name: str) -> dict[str, Any]:
        data = self.dumps(result)
        holds, items = _describe(result)
        directory, session = self.output["directory"], self.output["session"]
        return {**self.publish(directory, session, name, data), "holds": holds, "items": items}


class _Clock:
    """Seconds since the last look, and what they add up to."""

    def __init__(self, began: float) -> None:
        self.last = began
        self.run = 0.0
        self.dump = 0.0

    def take(self) -> float:
        now = time.perf_counter()
        passed, self.last = now - self.last, now
        return passed


def _read_ahead(path: str) -> None:
    """Ask the system to read a file into its cache while this segment is worked on."""
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def _describe(result: Any) -> tuple[str, int]:
    for kind in (list, tuple, dict, set, frozenset):
        if type(result) is kind:
            return kind.__name__, len(result)
    return "object", 1


def peak_rss() -> int | None:
    """This process's peak memory in bytes, where the system tells."""
    try:
        # Not getrusage's ru_maxrss: on Linux that begins with the memory of the process that
        # started this one, which may hold gigabytes.
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _text(text: str) -> str:
    """``text`` without lone surrogates, which JSON cannot carry, and cut to a bounded length."""
    if len(text) > LONGEST_TEXT:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _name_of(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ in ("builtins", "__main__"):
        return _text(kind.__qualname__)
    return _text(f"{kind.__module__}.{kind.__qualname__}")


def _message_of(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return _text(f"the function called sys.exit({error.code!r})")
    try:
        return _text(str(error))
    except BaseException as second:
        return f"(its message cannot be shown: {type(second).__name__})"


def _line_of(error: BaseException) -> str:
    """The error in one line, with the place in the user's code that raised it."""
    message = " ".join(_message_of(error).split())
    line = f"{_name_of(error)}: {message}" if message else _name_of(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    if isinstance(error, SyntaxError) or not own:
        return line
    return f"{line} ({own[-1].filename}, line {own[-1].lineno})"


def _traceback_of(error: BaseException) -> str:
    """The traceback as Python prints it, without the worker's own frames at its top."""
    try:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        return _text("".join(traceback.format_exception(type(error), error, frames)))
    except BaseException as second:
        return f"(its traceback cannot be shown: {type(second).__name__})"


class Pipes:
    """The engine's two pipes, away from descriptors 0 and 1."""

    def __init__(self) -> None:
        """Move the pipes and put something harmless where they were."""
        self.pid = os.getpid()
        self.incoming = os.dup(0)
        self.outgoing = os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        if sys.stdout is not None:
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.close)

    def close(self) -> None:
        """Close both, in a process that the function forked."""
        for descriptor in (self.incoming, self.outgoing):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def receive(self) -> dict[str, Any] | None:
        """The next message, or ``None`` when the engine is gone."""
        length = self._read(4)
        if length is None:
            return None
        message = self._read(int.from_bytes(length, "little"))
        return None if message is None else json.loads(message)

    def _read(self, size: int) -> bytes | None:
        parts = []
        while size > 0:
            part = os.read(self.incoming, min(size, 1 << 20))
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def send(self, message: dict[str, Any]) -> None:
        """Send one message, all of it."""
        data = json.dumps(message).encode()
        view = memoryview(len(data).to_bytes(4, "little") + data)
        while view:
            view = view[os.write(self.outgoing, view) :]


def end_with(parent: int, pipes: Pipes) -> None:
    """Makes sure that this process ends when the engine does, in the middle of a task too."""
    if sys.platform == "linux" and _end_by_signal():
        # Asked for after the fact: the parent may have ended before. A wrapper may stand between
        # the engine and this process as well; then the signal would tell of the wrapper.
        if os.getppid() == parent:
            return
    import select
    import threading

    if not hasattr(select, "poll"):
        return

    def watch() -> None:
        poll = select.poll()
        poll.register(pipes.incoming, 0)
        poll.poll()
        os._exit(3)

    threading.Thread(target=watch, name="picklet-end-with-parent", daemon=True).start()


def _end_by_signal() -> bool:
    import signal

    try:
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def leave(code: int) -> NoReturn:
    """Ends the process: exit handlers run, but threads that the function left do not hold it."""
    import atexit

    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> NoReturn:
    """Speaks with the engine until it closes the pipe."""
    pipes = Pipes()
    hello = pipes.receive()
    if hello is None:
        leave(0)
    end_with(hello["parent"], pipes)
    try:
        worker = Worker(hello)
    except Refusal as refusal:
        pipes.send({"type": "refused", "message": _text(str(refusal))})
        leave(2)
    except BaseException as error:
        pipes.send({"type": "refused", "message": _line_of(error)})
        leave(2)
    del hello
    pipes.send({"type": "ready"})
    while True:
        task = pipes.receive()
        if task is None:
            leave(0)
        answer = worker.process(task)
        if os.getpid() != pipes.pid:
            # The function forked and came back twice. The parent speaks for both.
            os._exit(0)
        pipes.send(answer)
        if answer["type"] == "failed":
            # A traceback holds its frames, and they hold the segment: let go before the next
            # one is loaded.
            worker.raised = None
            gc.collect()


if __name__ == "__main__":
    # The function and its classes may say that they live in __main__. It must not be this file.
    from picklet import worker as _worker

    _this = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    _worker.main()
