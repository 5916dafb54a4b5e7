"""Passages as vectors: the embedders, the index, and filters."""
