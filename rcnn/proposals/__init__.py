"""Where regions come from."""
