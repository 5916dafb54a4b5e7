"""Plain models: calls of clients that go to the upstream as they are, without a team."""
