"""What was said is changed afterwards, with the turns that rest on it."""
