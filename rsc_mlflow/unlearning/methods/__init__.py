"""The unlearning methods, one file each: a config, a function, and its registration.

These files are imported whenever a command lists its options, so they import PyTorch inside their functions.
"""
