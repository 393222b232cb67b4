"""Generators, the hosts of image-to-image translation: one file each, one line in `GENERATORS`."""

from radlearn.generators import resnet
from radlearn.generators.host import Host

GENERATORS: dict[str, Host] = {
    "resnet": Host(resnet.resnet),
}
"""By name."""

__all__ = ["GENERATORS", "Host"]
