"""Generators, the hosts of image-to-image translation: one file each, one line in `GENERATORS`."""

from radlearn.generators import munit, nicegan, resnet, unit
from radlearn.generators.host import Host

GENERATORS: dict[str, Host] = {
    "resnet": resnet.HOST,
    "munit": munit.HOST,
    "unit": unit.HOST,
    "nicegan": nicegan.HOST,
}
"""By name."""

__all__ = ["GENERATORS", "Host"]
