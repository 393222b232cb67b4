"""What every parity test gets: a place for the differences that it sees."""

from typing import Any

import pytest

from .rules import Differences


@pytest.fixture
def differences(record_property: Any) -> Differences:
    return Differences(record_property)
