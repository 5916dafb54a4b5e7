"""What the bodies of several doors have in common."""
