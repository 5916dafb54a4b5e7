"""An OpenAI-compatible gateway to teams of LLM agents."""

__version__ = "0.1.0"
