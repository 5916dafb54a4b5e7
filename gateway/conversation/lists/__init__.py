"""Lists of conversations: what a user may read, found by words, state and who is in it."""
