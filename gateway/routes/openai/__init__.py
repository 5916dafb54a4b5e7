"""The doors of the OpenAI API."""
