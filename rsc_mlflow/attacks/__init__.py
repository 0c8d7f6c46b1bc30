"""Membership inference: attacks with a common signature, their inputs, and the evaluation of their scores."""
