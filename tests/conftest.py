"""Hypothesis draws the same examples in every run and keeps no record of them."""

from hypothesis import settings

settings.register_profile("laws", derandomize=True, database=None, deadline=None, max_examples=20)
settings.load_profile("laws")
