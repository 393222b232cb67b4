"""Masked record modeling of radiographs and reports."""
