"""Run under a launcher: commands of a JSON file, one after the other, in the same processes."""

import json
import sys
from pathlib import Path

from radlearn.cli import main


def run_all(commands: Path) -> int:
    """0 where all of them ended well."""
    return max(main(command) for command in json.loads(commands.read_text()))


if __name__ == "__main__":
    sys.exit(run_all(Path(sys.argv[1])))
