"""Split, process and reload huge pickles: safely, in parallel, at disk speed.

``import picklet as pickle`` and go on as before; loading runs nothing that the
pickle says unless it is trusted:

>>> import picklet as pickle
>>> pickle.loads(pickle.dumps({"name": "John", "age": 30}))
{'name': 'John', 'age': 30}

Data in segments, each a plain pickle that any Python opens:

>>> import picklet
>>> segments = picklet.split(range(100), "numbers", count=25)
>>> sums = segments.map(sum, "sums", workers=2)
>>> list(sums)
[300, 925, 1550, 2175]
"""

from __future__ import annotations

from pickle import PickleBuffer, PickleError, PicklingError, UnpicklingError

from picklet._picklet import (
    DEFAULT_PROTOCOL,
    HIGHEST_PROTOCOL,
    Stub,
    UntrustedGlobalError,
    dis,
    dump,
    dumps,
    load,
    loads,
    optimize,
)
from picklet.errors import SegmentError, SegmentsError
from picklet.health import Repaired, Verified, repair
from picklet.mapping import Progress
from picklet.picklers import Pickler, Unpickler
from picklet.policy import Policy
from picklet.scanning import Damage, Finding, Import, ScanReport, scan
from picklet.segment_info import SegmentInfo
from picklet.segments import Items, Segments, Shuffled, open
from picklet.splitting import split
from picklet.tiling import Preview, Stitched, preview, stitch, tiles

__all__ = [
    "DEFAULT_PROTOCOL",
    "HIGHEST_PROTOCOL",
    "Damage",
    "Finding",
    "Import",
    "Items",
    "PickleBuffer",
    "PickleError",
    "Pickler",
    "PicklingError",
    "Policy",
    "Preview",
    "Progress",
    "Repaired",
    "ScanReport",
    "SegmentError",
    "SegmentInfo",
    "Segments",
    "SegmentsError",
    "Shuffled",
    "Stitched",
    "Stub",
    "Unpickler",
    "UnpicklingError",
    "UntrustedGlobalError",
    "Verified",
    "dis",
    "dump",
    "dumps",
    "load",
    "loads",
    "open",
    "optimize",
    "preview",
    "repair",
    "scan",
    "split",
    "stitch",
    "tiles",
]
