"""The membership attacks, one per module.

The modules are imported whenever attacks are listed, so they import SciPy and scikit-learn inside functions.
"""
