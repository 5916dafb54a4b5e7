"""The client of an OpenAI-compatible upstream."""
