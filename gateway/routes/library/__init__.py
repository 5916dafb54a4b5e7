"""Collections, their documents, and how far these are."""
