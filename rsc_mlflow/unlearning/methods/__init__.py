"""The unlearning methods, one per module: a config class and a registered function.

The modules are imported whenever a command lists its options, so they import PyTorch inside functions.
"""
