"""Mutants: platforms, servers and harnesses made wrong on purpose, each of which some claim must refute."""
