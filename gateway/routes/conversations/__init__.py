"""The Conversation API and its channels."""
