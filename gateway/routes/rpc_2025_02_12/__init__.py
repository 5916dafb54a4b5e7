"""The RPC door of 2025-02-12. The next version is the next folder."""
