"""Membership inference: attacks behind one signature, what they are run on, and what is made of their scores."""
