"""Chat completions: by agencies, by plain models, and stored ones."""
