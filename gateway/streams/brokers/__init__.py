"""Signals between the processes of one gateway, and what carries them."""
