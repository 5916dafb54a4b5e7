"""How a request becomes a turn."""
