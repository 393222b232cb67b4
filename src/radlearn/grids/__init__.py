"""Grids of runs: recipes, their cells side by side, and the table."""
