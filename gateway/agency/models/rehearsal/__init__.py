"""The built-in model that plays an agent's part."""
