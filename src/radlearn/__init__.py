"""Learn from medical images with few labels, loose reports and pairs that do not line up."""

__version__ = "0.1.0"
