"""The turn engine: accepts requests, runs turns, and keeps them through crashes."""
