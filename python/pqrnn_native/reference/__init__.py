"""Slow, obvious twins of what the compiled core does; the tests compare the two."""
