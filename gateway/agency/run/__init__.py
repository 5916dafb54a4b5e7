"""One turn, from its first call to its end."""
