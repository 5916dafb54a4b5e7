"""What an agency is: its agents, its document, and who may see it."""
