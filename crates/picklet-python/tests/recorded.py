"""Things for pickles to call, each of which writes down that it was called.

`EVENTS` holds pairs of what happened (`call`, `state`, `grow`) and to what: the global's name, or
`recorded.maker()` for what `maker` made, which no pickle can name.
"""

EVENTS: list[tuple[str, str]] = []


def _happened(what, name):
    EVENTS.append((what, f"recorded.{name}"))


def function(*args):
    _happened("call", "function")
    return list(args)


def other(*args):
    _happened("call", "other")
    return dict.fromkeys(range(len(args)))


def secret(*args):
    """Never listed by a test."""
    _happened("call", "secret")
    return args


def maker(*args):
    """Gives something to call, which the pickle has no name for."""
    _happened("call", "maker")
    return lambda *more: _happened("call", "maker()")


class _Noting(type):
    """Writes down that a class was called; `__new__` alone writes for itself."""

    def __call__(cls, *args, **keywords):
        _happened("call", cls.__name__)
        self = object.__new__(cls)
        self.__init__(*args, **keywords)
        return self


class Plain(metaclass=_Noting):
    """Takes its state as Python has it."""

    def __new__(cls, *args, **keywords):
        _happened("call", cls.__name__)
        return object.__new__(cls)

    def __init__(self, *args, **keywords):
        self.args = args


class Setter(Plain):
    """Takes its state itself."""

    def __setstate__(self, state):
        _happened("state", type(self).__name__)


class Grower(Plain):
    """Takes items in every way that a pickle can give them."""

    def append(self, item):
        _happened("grow", type(self).__name__)

    def extend(self, items):
        _happened("grow", type(self).__name__)

    def add(self, item):
        _happened("grow", type(self).__name__)

    def __setitem__(self, key, value):
        _happened("grow", type(self).__name__)


class Secret(Setter, Grower):
    """Never listed by a test."""
