"""Postgres: the pool, transactions, migrations, and the server that is embedded."""
