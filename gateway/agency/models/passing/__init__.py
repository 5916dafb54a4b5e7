"""An upstream's answers that are passed on as they are."""
