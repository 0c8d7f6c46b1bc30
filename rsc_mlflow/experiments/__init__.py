"""Joins the science and the tracking: what each experiment runs and what it writes down."""
