"""Unlearning: methods with a common signature, and the solvers, curvatures and training loops that they use."""
