"""Conversations with several people and agents: who takes part, and who may do what."""
