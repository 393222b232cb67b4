"""Generators, the hosts of image-to-image translation: one file each, one line in `GENERATORS`."""

from collections.abc import Callable

from torch import nn

from radlearn.generators import resnet

GENERATORS: dict[str, Callable[[str, int, int, int], nn.Module]] = {
    "resnet": resnet.resnet,
}
"""By name: (size, channels in, channels out, 2 or 3 dimensions) to the network."""

__all__ = ["GENERATORS"]
