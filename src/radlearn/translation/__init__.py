"""Translation between images from pairs that do not line up."""
