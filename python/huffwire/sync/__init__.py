"""Weights that several processes hold alike: published by one, followed by many."""

__all__: list[str] = []
