"""How a backbone is tuned: one file a way, one line in `ADAPTERS`."""

from radlearn.adapters import full, linear, peft
from radlearn.adapters.tuner import Adapter, TunerConfig

ADAPTERS: dict[str, Adapter] = {
    "full": Adapter(full.attach, full.save, full.load, full.merge),
    "linear": Adapter(linear.attach, linear.save, linear.load, linear.merge),
    "lora": Adapter(peft.attach, peft.save, peft.load, peft.merge),
}

__all__ = ["ADAPTERS", "Adapter", "TunerConfig"]
