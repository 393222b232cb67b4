"""How a backbone is tuned: one file a way, one line in `ADAPTERS`."""

from radlearn.adapters import full, linear, peft
from radlearn.adapters.tuner import Adapter, TunerConfig
from radlearn.errors import InputError

ADAPTERS: dict[str, Adapter] = {
    "full": Adapter(full.attach, full.save, full.load, full.merge, "everything"),
    "linear": Adapter(linear.attach, linear.save, linear.load, linear.merge, "the head alone"),
    "lora": Adapter(
        peft.attach,
        peft.save,
        peft.load,
        peft.merge,
        "low-rank updates of query and value, as MED-PEFT's",
        "Hu et al., ICLR 2022",
        "rank of each update",
        peft=True,
    ),
}


def adapter_named(name: str) -> Adapter:
    """The way of tuning of this name.

    Raises:
        InputError: there is none.
    """
    if name not in ADAPTERS:
        raise InputError(f"no tuner is called {name!r}; choose one of {', '.join(ADAPTERS)}")
    return ADAPTERS[name]


__all__ = ["ADAPTERS", "Adapter", "TunerConfig", "adapter_named"]
