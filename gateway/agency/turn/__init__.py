"""What a turn is: its rules and its values. Pure."""
