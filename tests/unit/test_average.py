"""Averaged weights follow the weights, and forget how training began."""

import torch
from torch import nn

from radlearn.engine.average import averaged


def linear(value: float) -> nn.Linear:
    net = nn.Linear(1, 1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def test_the_average_is_a_blend_of_late_weights() -> None:
    net = linear(0.0)
    average = averaged(net, 0.5)
    for value in (4.0, 8.0):
        with torch.no_grad():
            net.weight.fill_(value)
        average.update_parameters(net)
    # the first call takes the weights as they are, the second keeps 2 / 11 of them
    torch.testing.assert_close(average.module.weight.item(), 4.0 * 2 / 11 + 8.0 * 9 / 11)


def test_the_average_stays_near_what_was() -> None:
    net = linear(1.0)
    average = averaged(net, 0.9)
    for _ in range(200):
        average.update_parameters(net)
    with torch.no_grad():
        net.weight.fill_(2.0)
    average.update_parameters(net)
    torch.testing.assert_close(average.module.weight.item(), 1.1)


def test_an_average_that_is_restored_goes_on_with_the_same_bits() -> None:
    nets = [linear(0.0), linear(0.0)]
    averages = [averaged(net, 0.99) for net in nets]

    def follow(which: int, steps: range) -> None:
        for step in steps:
            with torch.no_grad():
                nets[which].weight.fill_(float(step) ** 0.5)
            averages[which].update_parameters(nets[which])

    follow(0, range(1, 9))
    follow(1, range(1, 5))
    kept = {name: value.clone() for name, value in averages[1].state_dict().items()}
    averages[1] = averaged(nets[1], 0.99)
    averages[1].load_state_dict(kept)
    follow(1, range(5, 9))
    assert torch.equal(averages[0].module.weight, averages[1].module.weight)
