"""docs/tuners.md: its table is the registry's."""

from pathlib import Path

from radlearn.adapters.overview import tuners_table

PAGE = Path(__file__).parents[2] / "docs" / "tuners.md"


def test_the_table_is_that_of_the_registry() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = text.split("<!-- tuners -->\n")[1].split("\n<!-- /tuners -->")[0]
    assert shown == tuners_table(), "put tuners_table() between the marks of docs/tuners.md"
