"""A command's help on one screen: an example, and a line a flag."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

PLACEHOLDERS = {int: "N", float: "X", str: "TEXT", Path: "PATH", bool: "True|False"}
WIDEST = 32  # columns a flag and its value take before the text starts on the next line


class Flag(NamedTuple):
    """What a field of a config is on the command line."""

    name: str
    value: str
    text: str
    default: str
    positional: bool


def usage(command: str, config: type) -> str:
    """The help of `radlearn COMMAND`, from the fields of its config and the texts below them."""
    flags = list(_flags(config))
    places = " ".join(flag.value for flag in flags if flag.positional)
    lines = [f"usage: radlearn {command} {places} [flags]", "", inspect.getdoc(config) or "", ""]
    for flag in flags:
        left = flag.value if flag.positional else f"--{flag.name} {flag.value}"
        text = " ".join(part for part in (flag.text, flag.default and f"[{flag.default}]") if part)
        if len(left) > WIDEST:
            lines.append(f"  {left}")
            left = ""
        lines.append(f"  {left:<{WIDEST}} {text}".rstrip())
    return "\n".join([*lines, ""])


def _flags(config: type) -> Iterator[Flag]:
    texts = _texts(config)
    hints = get_type_hints(config, include_extras=True)
    for field in fields(config):
        annotation = hints[field.name]
        marks: tuple[Any, ...] = ()
        if get_origin(annotation) is Annotated:
            annotation, *rest = get_args(annotation)
            marks = tuple(rest)
        if is_dataclass(annotation) and isinstance(annotation, type):
            yield from _flags(annotation)
            continue
        positional = tyro.conf.Positional in marks
        value = field.name.upper() if positional else _placeholder(annotation)
        if positional and get_origin(annotation) is tuple:
            value += "..."
        name = field.name.replace("_", "-")
        yield Flag(name, value, texts.get(field.name, ""), _default(field, positional), positional)


def _placeholder(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return _placeholder(next(a for a in get_args(annotation) if a is not type(None)))
    if get_origin(annotation) is tuple:
        return f"{_placeholder(get_args(annotation)[0])}..."
    return PLACEHOLDERS.get(annotation, "VALUE")


def _default(field: "Field[Any]", positional: bool) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "" if positional else "required"
    return "" if value in (None, (), "") else str(value)


def _texts(config: type) -> dict[str, str]:
    """The string below each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found
