"""What every process has: logs, health, an orderly end, a watch on its event loop."""
