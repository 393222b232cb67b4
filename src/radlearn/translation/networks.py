"""The networks of a mode, built at a size."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from radlearn.errors import InputError
from radlearn.generators import GENERATORS
from radlearn.models import critics
from radlearn.models.critics import Critic, CriticConfig
from radlearn.models.registration import Registration, registration_config
from radlearn.translation.modes import Mode

Size = Literal["tiny", "small", "paper"]


@dataclass(frozen=True)
class NetworksConfig:
    """What the networks of a run are made of.

    Attributes:
        generator: a name of `GENERATORS`.
        channels_in: of the source images.
        channels_out: of the target images.
        dims: 2 for slices, 3 for volumes or patches of them.
        side: the shortest side of the images, pixels; R has as many levels as fit.
    """

    generator: str = "resnet"
    size: Size = "paper"
    channels_in: int = 1
    channels_out: int = 1
    dims: int = 2
    side: int = 256

    def __post_init__(self) -> None:
        if self.generator not in GENERATORS:
            raise InputError(
                f"no generator is called {self.generator!r}; choose {' or '.join(GENERATORS)}"
            )
        if self.size not in critics.SIZES:
            raise InputError(f"no size is called {self.size!r}; choose tiny, small or paper")
        if min(self.channels_in, self.channels_out) < 1:
            raise InputError("images have at least one channel; give channels of 1 or more")


def build_networks(mode: Mode, config: NetworksConfig) -> dict[str, nn.Module]:
    """The networks of `mode` by name, with weights drawn from torch's global generator.

    Raises:
        InputError: dims is neither 2 nor 3.
    """
    source, target = config.channels_in, config.channels_out
    host, width = GENERATORS[config.generator], critics.SIZES[config.size]
    beside = source + target

    def critic(own: int) -> Critic:
        return Critic(CriticConfig(beside if mode.conditional else own, config.dims, width))

    builders = {
        "G_ab": lambda: host(config.size, source, target, config.dims),
        "G_ba": lambda: host(config.size, target, source, config.dims),
        "D_a": lambda: critic(source),
        "D_b": lambda: critic(target),
        "R": lambda: Registration(
            registration_config(config.size, target, config.dims, config.side)
        ),
    }
    return {name: build() for name, build in builders.items() if name in mode.networks}
