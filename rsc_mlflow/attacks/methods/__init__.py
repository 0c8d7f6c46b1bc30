"""The membership attacks, one file each: a function and its registration.

These files are imported whenever the attacks are listed, so they import SciPy and scikit-learn inside their functions.
"""
