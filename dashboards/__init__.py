"""Dashboards over the runs of a tracking store.

Importing this package raises the threshold of Python's garbage collector, because reading the runs of a large store
creates hundreds of thousands of objects and hardly any garbage.
"""

import gc

gc.set_threshold(50_000)
