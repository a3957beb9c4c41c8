"""Offline operation: failed store operations are spooled to disk and sent later."""
