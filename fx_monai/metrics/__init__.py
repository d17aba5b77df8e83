"""Metrics that know what was not annotated."""
