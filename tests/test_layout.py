"""The shape of the project: who may import whom, and pages that say what is there.

`python tests/test_layout.py` writes the README's tree anew, from the first lines of the modules.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "radlearn"
README = ROOT / "README.md"
MISSIONS = ("pretraining", "finetuning", "translation")
ABOVE = ("bench", "evaluation", "exchange", "grids")  # work on runs of every mission
FOUNDATIONS = (
    "records",
    "datasets",
    "models",
    "adapters",
    "engine",
    "generators",
    "metrics",
    "report",
)
MOST_LINES = 400
TREE = re.compile(r"(## Layout\n.*?```\n)(.*?)(```)", re.DOTALL)
FIX = "run `python tests/test_layout.py` and commit README.md"

# Spelt in pieces, so that this file does not hold what it looks for.
LOCKS = re.compile(r"(^|/)(.+\.lock|.+-lock\.(json|yaml)|npm-shrinkwrap\.json)$")
REGISTRIES = re.compile("|".join(["index" + "-url", "pypi" + r"\.org/", "python" + r"hosted\.org"]))
MACHINES = re.compile(
    r"(?<![\w.~-])/(" + "|".join(["ho" + "me", "Us" + "ers", "wo" + "rk", "ro" + "ot"]) + r")/\w"
    r"|[A-Z]:\\\\?Us" + r"ers\\"
)


def modules(part: str) -> list[Path]:
    return sorted((PACKAGE / part).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of the file, at any depth, as (line, dotted name)."""
    package = ("radlearn", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{name}.{alias.name}"


def forbidden(part: str, others: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(part)
        for line, name in imports(path)
        if any((name + ".").startswith(f"radlearn.{other}.") for other in others)
    ]


@pytest.mark.parametrize("mission", [name for name in MISSIONS if (PACKAGE / name).is_dir()])
def test_missions_never_import_each_other(mission: str) -> None:
    others = tuple(name for name in MISSIONS if name != mission)
    found = forbidden(mission, others)
    assert not found, f"move what both need to a foundation: {found}"


@pytest.mark.parametrize("foundation", FOUNDATIONS)
def test_foundations_never_import_missions(foundation: str) -> None:
    assert modules(foundation), f"no src/radlearn/{foundation}: change FOUNDATIONS here"
    found = forbidden(foundation, (*MISSIONS, *ABOVE))
    assert not found, f"pass it in as an argument, or move it down: {found}"


def test_every_folder_has_its_place() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= {*FOUNDATIONS, *MISSIONS, *ABOVE}, "say here what the new folder is"


def test_the_package_is_two_deep() -> None:
    deep = [path for path in PACKAGE.rglob("*.py") if len(path.relative_to(PACKAGE).parts) > 2]
    assert not deep, f"one folder below the package and no more: {deep}"


def test_no_module_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules("")}
    long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MOST_LINES}
    assert not long, f"one concept a file, at most {MOST_LINES} lines; split {long}"


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in modules("") if not summary(path)]
    assert not silent, f"the README's tree is made of first lines; write one in {silent}"


def test_the_readme_has_the_tree_of_the_disk() -> None:
    found = TREE.search(README.read_text(encoding="utf-8"))
    assert found, "README.md has no block of code under the heading 'Layout'"
    told, real = found[2].splitlines(), tree().splitlines()
    missing = [line for line in real if line not in told]
    gone = [line for line in told if line not in real]
    assert told == real, f"{FIX}; on disk but not told: {missing}; told but not on disk: {gone}"


def tracked() -> list[str]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout: it looks at the tracked files")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_lock_files_are_tracked() -> None:
    locks = [name for name in tracked() if LOCKS.search(name)]
    assert not locks, f"pyproject.toml has the bounds; git rm {locks}"


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        (REGISTRIES, "name packages, not where a machine gets them"),
        (MACHINES, "write paths relative to the project"),
    ],
    ids=["registries", "machines"],
)
def test_nothing_of_one_machine_is_tracked(pattern: re.Pattern[str], advice: str) -> None:
    found = []
    for name in tracked():
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{n}" for n, line in enumerate(lines, 1) if pattern.search(line)]
    assert not found, f"{advice}: {found}"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("/ho" + "me/ann/data", MACHINES),
        ('"/wo' + 'rk/main"', MACHINES),
        ("--extra-index" + "-url x", REGISTRIES),
        ("sub/uv.lock", LOCKS),
    ],
)
def test_what_is_looked_for_would_be_found(text: str, pattern: re.Pattern[str]) -> None:
    assert pattern.search(text)


def test_imports_are_seen_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.py").write_text(
        "def f():\n    from radlearn import pretraining\n"
        "from ..finetuning.run import g\nimport radlearn.translation.run\n"
        "from radlearn.records import pretraining_notes\n"
    )
    assert len(forbidden("models", MISSIONS)) == 3


def summary(path: Path) -> str:
    """The first line of a file's docstring; of other files, nothing."""
    if path.suffix != ".py":
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n", 1)[0].rstrip(".")


def tree() -> str:
    """The package as the README shows it: folders, files, and what each says of itself."""
    rows = [("src/radlearn/", summary(PACKAGE / "__init__.py"))]
    files = sorted(path for path in PACKAGE.iterdir() if _shown(path))
    rows += [(f"  {path.name}", summary(path)) for path in files]
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        rows.append((f"  {folder.name}/", summary(folder / "__init__.py")))
        inside = sorted(path for path in folder.iterdir() if _shown(path))
        rows += [(f"    {path.name}", summary(path)) for path in inside]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {words}".rstrip() + "\n" for name, words in rows)


def _shown(path: Path) -> bool:
    hidden = path.name.startswith((".", "__init__")) or path.name == "py.typed"
    return path.is_file() and not hidden and path.suffix != ".pyc"


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8")
    after = TREE.sub(lambda found: found[1] + tree() + found[3], before)
    README.write_text(after, encoding="utf-8")
    print("README.md: " + ("as it was" if after == before else "tree written anew"))
