"""What a user's own channel tells: lists, invitations and turns, over all conversations."""
