"""The pages cannot drift: commands that they show exist, and files that they link to are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from radlearn.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def shown() -> Iterator[tuple[str, str]]:
    """Every `radlearn ...` line of every console block, as (page, line)."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("radlearn "):
                    yield page.relative_to(ROOT).as_posix(), line


@pytest.mark.parametrize(("page", "line"), list(shown()))
def test_commands_shown_have_these_flags(
    page: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, command, *arguments = shlex.split(line, comments=True)
    assert command in COMMANDS, f"{page} shows radlearn {command}"
    if arguments and f"{command} {arguments[0]}" in COMMANDS:
        command = f"{command} {arguments[0]}"
    try:
        main([*command.split(), "--help"])
    except SystemExit as stopped:
        assert not stopped.code
    known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))
    used = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
    assert used <= known, f"{page} shows {used - known}, which radlearn {command} does not know"


def test_readme_shows_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`radlearn {name}`" not in text]
    assert not missing, f"README.md's table of commands lacks {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    broken = [link for link in links if not (page.parent / link).exists()]
    assert not broken, f"{page.name} links to {broken}"


def test_the_picture_is_small_enough_for_a_first_screen() -> None:
    assert (ROOT / "docs" / "picture.png").stat().st_size < 300_000
