"""Weights from elsewhere in, and runs out to other tools, each compared."""
