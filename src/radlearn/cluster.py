"""A Ray cluster that exists: joined while it is needed. Nothing here starts or schedules one."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from radlearn import __version__
from radlearn.errors import InputError

On = Literal["here", "ray"]

LOST = 5
"""How often work is sent again after a node was lost under it."""
ANSWERS_WITHIN = 10.0  # seconds
SHARED = "it has to be on a file system that all nodes see, at the same path"


class Sender(NamedTuple):
    """What a node has to know of who sends it work."""

    folder: str
    version: str


def sender() -> Sender:
    """This process, for `unfit`."""
    return Sender(os.getcwd(), __version__)  # noqa: PTH109 - a str, as it goes to another machine


def unfit(asked: Sender) -> str | None:
    """Why this node cannot work for who asks, or None; relative paths are then as they were there.

    It is called on the node.
    """
    node = socket.gethostname()
    if asked.version != __version__:
        return (
            f"the node {node} has radlearn {__version__} where {asked.version} asks for work: "
            "install the same version on all nodes"
        )
    try:
        os.chdir(asked.folder)
    except OSError:
        return f"the node {node} does not see the folder {asked.folder}: {SHARED}"
    return None


@contextmanager
def joined() -> Iterator[None]:
    """Be part of the Ray cluster of RAY_ADDRESS, or of the one that this machine is part of.

    Raises:
        InputError: Ray is not installed, or there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a hospital is reported
    try:
        import ray
    except ImportError:
        raise InputError(
            "--on ray needs Ray, which is not installed: pip install 'radlearn[cluster]'"
        ) from None
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "auto"
    stopped = signal.getsignal(signal.SIGTERM)
    try:
        _answers(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "on this machine" if address == "auto" else f"at {address}"
        raise InputError(
            f"no Ray cluster can be joined {where} ({str(error).strip() or 'no answer'}): start "
            "one with ray start --head, join it with ray start --address on the other machines, "
            "or set RAY_ADDRESS"
        ) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, stopped)  # Ray's own would end without a word
    try:
        yield
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Raise `OSError` where nothing listens: Ray itself would ask for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()


def nodes() -> list[dict[str, float]]:
    """CPU and GPU of each node that lives and takes work.

    Raises:
        InputError: there is none.
    """
    import ray

    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not (able := [one for one in found if one.get("CPU", 0) >= 1]):
        raise InputError(
            f"none of the {len(found)} nodes of the Ray cluster has a CPU to give; join machines "
            "with ray start --address"
        )
    return able
