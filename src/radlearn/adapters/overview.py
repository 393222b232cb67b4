"""The table of all tuners, as docs/tuners.md shows it."""

from radlearn.adapters import ADAPTERS, Adapter


def tuners_table() -> str:
    """Markdown: a line a tuner."""
    lines = [
        "| `--tuner` | what trains | `--rank` is its | merges | peft | paper |",
        "|---|---|---|---|---|---|",
    ]
    for name, adapter in ADAPTERS.items():
        cells = (f"`{name}`", _about(adapter), adapter.size or "–", *_marks(adapter))
        lines.append("| " + " | ".join([*cells, adapter.paper or "–"]) + " |")
    return "\n".join(lines)


def _about(adapter: Adapter) -> str:
    return adapter.about if adapter.same_start else f"{adapter.about} (changes the start)"


def _marks(adapter: Adapter) -> tuple[str, str]:
    return "yes" if adapter.mergeable else "no", "yes" if adapter.peft else "no"
