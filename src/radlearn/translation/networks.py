"""The networks of a mode, built at a size."""

from dataclasses import dataclass

from torch import nn

from radlearn.errors import InputError
from radlearn.generators import GENERATORS
from radlearn.models import critics
from radlearn.models.registration import Registration, registration_config
from radlearn.translation.modes import MODES, Mode, Size

MOST_CHANNELS, LONGEST_SIDE = 2**8, 2**16
"""More than any scan has: a run's config.json may come from anywhere."""


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
        if max(self.channels_in, self.channels_out) > MOST_CHANNELS or self.side > LONGEST_SIDE:
            raise InputError(
                f"networks for {self.channels_in} and {self.channels_out} channels of "
                f"{self.side} px are more than any scan needs; correct config.json"
            )


def build_networks(mode: Mode, config: NetworksConfig) -> dict[str, nn.Module]:
    """The networks of `mode` by name, with weights drawn from torch's global generator.

    Raises:
        InputError: the host has not this mode, or not this number of dimensions.
    """
    source, target = config.channels_in, config.channels_out
    size, dims, host = config.size, config.dims, GENERATORS[config.generator]
    if not host.needs <= mode.networks:
        has = [name for name, other in MODES.items() if host.needs <= other.networks]
        raise InputError(
            f"the host {config.generator} is made of {', '.join(sorted(host.needs))}, which this "
            f"mode has not; choose the mode {' or '.join(has)}, or the host resnet"
        )
    if dims not in host.dims:
        has = [str(number) for number in host.dims]
        raise InputError(
            f"the host {config.generator} takes images of {' or '.join(has)} dimensions, not "
            f"{dims}; choose dims {' or '.join(has)}, or another host"
        )

    def critic(own: int) -> nn.Module:
        return host.critic(size, source + target if mode.conditional else own, dims)

    builders = {
        "G_ab": lambda: host.generator(size, source, target, dims),
        "G_ba": lambda: host.generator(size, target, source, dims),
        "D_a": lambda: critic(source),
        "D_b": lambda: critic(target),
        "R": lambda: Registration(registration_config(size, target, dims, config.side)),
    }
    return {name: build() for name, build in builders.items() if name in mode.networks}
