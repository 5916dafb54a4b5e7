"""The rows of turns."""
