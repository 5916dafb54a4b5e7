"""Changes of conversations on their way to whoever follows them."""
