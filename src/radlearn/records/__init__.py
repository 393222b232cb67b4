"""Records: reading, preparing, storing and choosing them."""
