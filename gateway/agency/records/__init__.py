"""Reading what was said: turns, agents' talk, stored completions."""
