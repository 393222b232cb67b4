"""Every run ends with the largest differences that it saw, kind by kind.

The hook is tests/conftest.py's: with workers the process that prints loads no conftest of a folder.
"""

import math
from typing import Any

from .rules import PROPERTY, parity_folder


def pytest_terminal_summary(terminalreporter: Any) -> None:
    largest: dict[tuple[str, str], tuple[float, float, str]] = {}
    for report in (r for reports in terminalreporter.stats.values() for r in reports):
        for name, row in getattr(report, "user_properties", ()):
            if name == PROPERTY:
                case, what, where, difference, tolerance = row
                found = (math.inf if math.isnan(difference) else difference, tolerance, where)
                largest[case, what] = max(largest.get((case, what), found), found)
    if not largest:
        return
    terminalreporter.section(f"largest differences from {parity_folder()}")
    for (case, what), (difference, tolerance, where) in sorted(largest.items()):
        compared = "<" if difference < tolerance else "NOT <"
        line = f"{case:<15} {what:<34} {difference:7.1e} {compared} {tolerance:.0e}  {where}"
        terminalreporter.line(line.rstrip())
