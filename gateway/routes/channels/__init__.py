"""Live channels: conversations, replies and documents as Server-Sent Events."""
