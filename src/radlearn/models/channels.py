"""One or three channels: a backbone from elsewhere brought to as many as a run asks for."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.models.imported import Imported
from radlearn.records.transforms import Preprocessing


def with_channels(found: Imported, channels: int) -> Imported:
    """The same backbone for grey pictures on `channels` channels, 1 or 3: the outputs stay.

    Raises:
        InputError: as `grey_input`.
    """
    own = found.preprocessing
    if channels == own.channels:
        return found
    config = replace(found.config, model_args={**found.config.model_args, "in_chans": channels})
    if channels == 3:  # what one channel weighs is shared out when the weights are loaded
        return replace(found, config=config, preprocessing=replace(own, channels=3))
    with torch.device("meta"):
        model = found.config.create(num_classes=0)
    state, preprocessing = grey_input(found.state, model, own)
    return replace(found, config=config, preprocessing=preprocessing, state=state, folder=None)


def grey_input(
    state: Mapping[str, Tensor], model: nn.Module, preprocessing: Preprocessing
) -> tuple[dict[str, Tensor], Preprocessing]:
    """Weights of three channels for one, and the preprocessing that goes with them: exact.

    With x_c = (g - m_c) / s_c on every channel, the first convolution sees
    sum_c W_c x_c = (sum_c W_c s / s_c) (g - m) / s + sum_c W_c (m - m_c) / s_c.

    Args:
        state: timm's names, three input channels.
        model: timm's, which says what its first convolution is called.

    Raises:
        InputError: the channels' means differ and the first convolution pads its input or has no
            bias, so that one channel cannot be the same.
    """
    one = replace(preprocessing.averaged, channels=1)
    first: str = model.default_cfg["first_conv"]  # type: ignore[index, assignment]
    name, bias = f"{first}.weight", f"{first}.bias"
    weight = state.get(name)
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        raise InputError(f"the weights have no {name} of three channels; leave --channels out")
    mean, std = (value.expand(3, 1, 1) for value in preprocessing.statistics(weight))
    grey_mean, grey_std = one.statistics(weight)
    folded = {name: (weight * (grey_std / std)).sum(1, keepdim=True)}
    shift = ((grey_mean - mean) / std * weight).sum((1, 2, 3))
    if shift.any():
        convolution = model.get_submodule(first)
        padded = getattr(convolution, "padding", None) not in (0, (0, 0))
        if padded or bias not in state:
            raise InputError(
                "its three channels have means of their own, which its first convolution cannot "
                "take over for one channel; leave --channels out"
            )
        folded[bias] = state[bias] + shift
    return {**state, **folded}, one
