"""Agencies, their agents, and the engine that runs their turns."""
