"""The commands.

The imports of a command create hundreds of thousands of objects and hardly any garbage.  With Python's default
threshold, the garbage collector would take a fifth of the time of the imports.
"""

import gc

gc.set_threshold(50_000)
