"""A conversation as a document: taken out with all that belongs to it, and put in again."""
