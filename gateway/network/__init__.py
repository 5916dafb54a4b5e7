"""Addresses: which may be connected to, and connections that are ended."""
