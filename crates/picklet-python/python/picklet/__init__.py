"""Split, process and reload huge pickles: safely, in parallel, at disk speed.

``import picklet as pickle`` and go on as before; loading runs nothing that the
pickle says unless it is trusted:

>>> import picklet as pickle
>>> pickle.loads(pickle.dumps({"name": "John", "age": 30}))
{'name': 'John', 'age': 30}

Data in segments, each a plain pickle that any Python opens:

>>> import picklet
>>> segments = picklet.split(range(100), "numbers", count=25)
>>> [sum(segment) for segment in segments]
[300, 925, 1550, 2175]
"""

from __future__ import annotations

from picklet.errors import SegmentError, SegmentsError
from picklet.segments import Segments, open
from picklet.splitting import split

__all__ = [
    "SegmentError",
    "SegmentsError",
    "Segments",
    "open",
    "split",
]
