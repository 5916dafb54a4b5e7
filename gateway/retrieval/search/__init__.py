"""Searching: the index, the full text, and filters."""
