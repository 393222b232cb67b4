"""What training costs: seconds of a step, and the most memory that its process took."""

import resource
import sys
import time
from statistics import median

import torch


class Cost:
    """Watches the steps of one run; `begin` before a step's forward pass, `end` after its update.

    What happens between steps (batches made ahead, scoring) is not counted.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self._began = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds.append(time.monotonic() - self._began)

    def as_json(self) -> dict[str, float | int | None]:
        """Median seconds of a step, None where none was made; bytes of memory at the peak.

        On a GPU these are the bytes of its tensors, else all of the process, Python included.
        """
        return {
            "seconds_per_step": median(self.seconds) if self.seconds else None,
            "peak_memory": peak_memory(self.device),
        }


def peak_memory(device: torch.device) -> int:
    """Bytes: of the device's tensors since `Cost` was made, or of this process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
