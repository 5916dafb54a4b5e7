"""What was said: conversations and their interactions. Knows nothing of models."""
