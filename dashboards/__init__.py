"""Dashboards over the runs of a tracking store.

A search in a large store makes hundreds of thousands of objects and hardly any garbage.  With Python's default
threshold the collector would take most of its time.
"""

import gc

gc.set_threshold(50_000)
