"""Commands.

The imports of one make hundreds of thousands of objects and hardly any garbage.  With Python's default threshold the
collector would take a fifth of the time that they need.
"""

import gc

gc.set_threshold(50_000)
