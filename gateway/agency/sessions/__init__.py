"""Sessions: turns that are driven by hand, step by step."""
