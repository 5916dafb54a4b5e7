"""Webhooks: whoever holds no stream is told by a request what happens."""
