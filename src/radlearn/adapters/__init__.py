"""How a backbone is tuned: one file a way, one line in `ADAPTERS`; peft's ways are in `kinds`."""

from dataclasses import replace
from functools import partial

from radlearn.adapters import adalora, added, few, full, library, linear, peft, trained
from radlearn.adapters.kinds import KINDS, Kind
from radlearn.adapters.tuner import Adapter, TunerConfig
from radlearn.errors import InputError


def _few(names: few.Names, name: str, about: str, paper: str) -> Adapter:
    attach = partial(few.attach, names=names)
    load = partial(trained.load, attach=attach, tuner=name)
    return Adapter(attach, trained.save, load, trained.merge, about, paper)


def _added(
    into: added.Into, name: str, about: str, paper: str, size: str, same_start: bool = True
) -> Adapter:
    attach = partial(added.attach, into=into)
    load = partial(trained.load, attach=attach, tuner=name)
    return Adapter(
        attach,
        trained.save,
        load,
        trained.merge,
        about,
        paper,
        size,
        mergeable=False,
        same_start=same_start,
    )


def _of_peft(name: str, kind: Kind) -> Adapter:
    return Adapter(
        library.attach,
        library.save,
        partial(library.load, name=name),
        library.merge,
        kind.about,
        kind.paper,
        kind.size,
        mergeable=kind.mergeable,
        same_start=kind.same_start,
        peft=True,
    )


_prompts = partial(_added, paper="Jia et al., 2022", same_start=False)

ADAPTERS: dict[str, Adapter] = {
    "full": Adapter(full.attach, full.save, full.load, full.merge, "everything"),
    "linear": Adapter(linear.attach, linear.save, linear.load, linear.merge, "the head alone"),
    "lora": Adapter(
        peft.attach,
        peft.save,
        peft.load,
        peft.merge,
        "low-rank updates of query and value, as MED-PEFT's",
        "Hu et al., 2022",
        "rank of each update",
        peft=True,
    ),
    "bias": _few(few.biases, "bias", "biases (BitFit)", "Zaken et al., 2022"),
    "norm": _few(few.norms, "norm", "scales and shifts of norms", "Basu et al., 2024"),
    "prompt": _prompts(added.shallow, "prompt", "prompts before the first block", size="prompts"),
    "prompt-deep": _prompts(
        added.deep, "prompt-deep", "prompts before every block", size="prompts a block"
    ),
    "adapter": _added(
        added.bottlenecks,
        "adapter",
        "small networks after attention and MLP",
        "Houlsby et al., 2019",
        "width of a network",
    ),
    **{name: _of_peft(name, kind) for name, kind in KINDS.items()},
}
ADAPTERS["adalora"] = replace(ADAPTERS["adalora"], after=adalora.after, terms=adalora.terms)


def adapter_named(name: str) -> Adapter:
    """The way of tuning of this name.

    Raises:
        InputError: there is none.
    """
    if name not in ADAPTERS:
        raise InputError(f"no tuner is called {name!r}; choose one of {', '.join(ADAPTERS)}")
    return ADAPTERS[name]


__all__ = ["ADAPTERS", "Adapter", "TunerConfig", "adapter_named"]
