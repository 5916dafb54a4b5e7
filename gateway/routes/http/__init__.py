"""What all doors share: the entrance, who may come in, bodies, pages and errors."""
