"""Fakes made by script in each data set's real folder layout: `data.NAME.make(root)`."""
