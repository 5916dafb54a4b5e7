"""The Agents API: agencies, what their agents said, turns and sessions."""
