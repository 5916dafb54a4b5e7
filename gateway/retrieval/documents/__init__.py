"""Documents: kept, read, cut and indexed."""
