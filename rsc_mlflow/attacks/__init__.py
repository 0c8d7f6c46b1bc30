"""Membership inference: attacks, which have a common signature, their inputs, and the evaluation of their scores."""
