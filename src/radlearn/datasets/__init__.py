"""Public data sets: one file a layout, listed in layouts.py."""
