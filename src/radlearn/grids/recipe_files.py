"""Recipes as files: found by name, scaled, checked, with the places of the data put in."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from radlearn.errors import InputError
from radlearn.grids.recipe import (
    AnyRecipe,
    Recipe,
    Reported,
    TranslationRecipe,
    Values,
)
from radlearn.grids.settings import Scale

SAFE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_+.-]*[A-Za-z0-9_+-])?")
"""Names that are folders on every file system."""

MERGED = ("about", "prepare", "stores", "backbones", "grid")
"""Tables of which a scale replaces entries by their name."""


def shipped() -> Path:
    """The folder of the recipes that come with the package: installed, or in its source tree."""
    installed = Path(__file__).parents[1] / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "recipes"


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with the package.

    Raises:
        InputError: there is neither.
    """
    path = Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        return path
    found = shipped() / f"{name}.toml"
    if not found.is_file():
        names = ", ".join(sorted(one.stem for one in shipped().glob("*.toml")))
        raise InputError(
            f"no recipe is called {name!r}; there are {names}, and a file of your own by its path"
        )
    return found


def read_recipe(path: Path, scale: Scale = "paper", only: tuple[str, ...] = ()) -> AnyRecipe:
    """Read a recipe; `${NAME}` in a value is the environment variable NAME.

    Args:
        scale: "tiny" puts the file's table [tiny] over the rest of it.
        only: keep the cells of these values of the grid, and what they need.

    Raises:
        InputError: the file is missing, is not TOML, lacks a part or names an unknown variable.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the recipe {path} is not TOML: {error}") from None
    try:
        tiny = values.pop("tiny", None)
        if scale == "tiny":
            values = _scaled(values, tiny, path)
        read = _translation if "translate" in values else _finetuning
        recipe = read(values, only, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the recipe {path} lacks {error}; see recipes/ for whole ones") from None
    return recipe


def _scaled(values: Values, tiny: Values | None, path: Path) -> Values:
    if tiny is None:
        raise InputError(f"the recipe {path} has no [tiny] table; leave --scale at paper")
    merged = {name: {**values.get(name, {}), **tiny.get(name, {})} for name in MERGED}
    mission = "translate" if "translate" in values else "finetune"
    title = f"{values['title']}, at the scale tiny"
    return values | merged | {"title": title, "scaled": tiny.get(mission, {})}


def _finetuning(values: Values, only: tuple[str, ...], path: Path) -> Recipe:
    finetune = dict(values.get("finetune", {}))
    paper = values.get("paper", {})
    grid = values["grid"] if finetune else {}
    recipe = Recipe(
        title=values["title"],
        about=values["about"],
        stores=values["stores"],
        backbones=values.get("backbones", {}),
        tuners=finetune.pop("tuners") if finetune else {},
        fractions=finetune.pop("fractions", {}),
        inits=finetune.pop("inits", {}),
        data=finetune.pop("data", {}),
        exact=finetune.pop("cells", {}),
        finetune=finetune,
        scaled=values.get("scaled", {}),
        grid=grid,
        labels=tuple(values.get("show", ())),
        reported=tuple(Reported(**one) for one in paper.get("scores", ())),
        finding=paper.get("finding", ""),
        costs=bool(values.get("costs", False)),
        against=values.get("against", ""),
        elsewhere=tuple(values.get("elsewhere", ())),
    )
    if not recipe.grid:
        return _with_places(recipe, recipe.backbones.keys(), set(), path)
    known = {
        "init": {"scratch": {}, **recipe.backbones},
        "tuner": recipe.tuners,
        "data": recipe.data,
        "fraction": {one: {} for one in grid["fraction"]},
        "seed": {one: {} for one in grid["seed"]},
    }
    _check_grid(recipe, known, path)
    if unknown := recipe.exact.keys() - {cell.setting for cell in recipe.cells()}:
        raise InputError(f"the recipe {path} has flags for {min(unknown)}, no cell of its grid")
    recipe = _narrowed(recipe, only, path)
    stores = {store for cell in recipe.cells() for store in recipe.flags(cell)["stores"]}
    stores |= set(recipe.elsewhere)
    inits = {cell.init for cell in recipe.cells()} - {"scratch"}
    return _with_places(recipe, inits, stores, path)


def _with_places(recipe: Recipe, inits: Iterable[str], stores: set[str], path: Path) -> Recipe:
    """The recipe with the stores and backbones that are needed, and variables put in."""
    backbones: Values = {}
    for name in reversed(list(recipe.backbones)):
        if name in inits or any(name == one.get("init") for one in backbones.values()):
            backbones[name] = recipe.backbones[name]
            stores |= set(recipe.backbones[name].get("stores", ()))
    for name in reversed(list(recipe.stores)):
        if name in stores:
            stores |= set(recipe.stores[name].get("link", ()))
    if missing := stores - recipe.stores.keys():
        raise InputError(f"the recipe {path} has no store named {min(missing)!r}")
    return replace(
        recipe,
        stores=_filled({k: v for k, v in recipe.stores.items() if k in stores}, path),
        backbones=_filled(dict(reversed(list(backbones.items()))), path),
    )


def _translation(values: Values, only: tuple[str, ...], path: Path) -> TranslationRecipe:
    translate = dict(values["translate"])
    recipe = TranslationRecipe(
        title=values["title"],
        about=values["about"],
        stores={name: values["prepare"] | own for name, own in values["stores"].items()},
        modes=translate.pop("modes"),
        levels=translate.pop("levels"),
        translate=translate,
        scaled=values.get("scaled", {}),
        grid=values["grid"],
        finding=values.get("paper", {}).get("finding", ""),
    )
    known = {"mode": recipe.modes, "level": recipe.levels, "store": recipe.stores}
    _check_grid(recipe, known, path)
    recipe = _narrowed(recipe, only, path)
    needed = {cell.store for cell in recipe.cells()}
    stores = {name: flags for name, flags in recipe.stores.items() if name in needed}
    return replace(recipe, stores=_filled(stores, path))


def _check_grid(recipe: Any, known: Mapping[str, Mapping[Any, Any]], path: Path) -> None:
    for axis, names in known.items():
        for name in recipe.grid.get(axis, ()) if axis == "data" else recipe.grid[axis]:
            if name not in names:
                what = "backbone" if axis == "init" else axis
                raise InputError(
                    f"the recipe {path} has no {what} named {name!r}; it has {', '.join(names)}"
                )
            if isinstance(name, str) and not SAFE.fullmatch(name):
                raise InputError(
                    f"the recipe {path} has a {axis} named {name!r}, which cannot be a folder "
                    "everywhere; use letters, digits, _ + - and . inside"
                )
    cells = recipe.cells()
    if not cells or len({cell.name.lower() for cell in cells}) < len(cells):
        raise InputError(f"the grid of the recipe {path} has no cell, or one cell twice")


def _narrowed(recipe: Any, only: tuple[str, ...], path: Path) -> Any:
    axes = zip(*(cell.parts for cell in recipe.cells()), strict=True)
    values = list(dict.fromkeys(part for axis in axes for part in axis if part))
    for name in only:
        if name not in values:
            raise InputError(
                f"--only {name}: the grid of {path} has no such value; it has {', '.join(values)}"
            )
    return replace(recipe, only=only)


def _filled(value: Any, path: Path) -> Any:
    """Values with the variables that their texts name put in."""
    if isinstance(value, dict):
        return {name: _filled(one, path) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, path) for one in value]
    return _with_variables(value, path) if isinstance(value, str) else value


def _with_variables(text: str, path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(f"the recipe {path} reads ${name}; set it to the folder of the data")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, text)
