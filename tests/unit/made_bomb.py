"""A file that kills whoever reads it; a module of its own, since worker processes import it."""

import os
from pathlib import Path


class Bomb(type(Path())):  # type: ignore[misc]
    """A file whose decoder takes its process down."""

    def is_file(self) -> bool:
        os._exit(1)
