"""Generators and critics: shapes, sizes, and what they refuse."""

import pytest
import torch

from radlearn.errors import InputError
from radlearn.generators import resnet as resnet_module
from radlearn.generators.resnet import ResNetGenerator, resnet
from radlearn.models import critics, registration
from radlearn.models.critics import Critic, CriticConfig
from radlearn.translation.modes import MODES
from radlearn.translation.networks import NetworksConfig, build_networks


@pytest.mark.parametrize("dims", [2, 3])
def test_generators_keep_the_place_and_learn_everywhere(dims: int) -> None:
    torch.manual_seed(0)
    net = resnet("tiny", 2, 3, dims)
    sides = [16, 20, 24][:dims]
    made = net(torch.randn(2, 2, *sides))
    assert made.shape == (2, 3, *sides)
    assert made.abs().max() <= 1
    made.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_generator_answers_for_each_image_alone() -> None:
    torch.manual_seed(0)
    net = resnet("tiny", 1, 1, 2)
    images = torch.randn(3, 1, 16, 16)
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


def test_sides_that_would_not_come_back_are_refused() -> None:
    with pytest.raises(InputError, match=r"multiple of 4, not 16 x 18"):
        resnet("tiny", 1, 1, 2)(torch.zeros(1, 1, 16, 18))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_critic_gives_the_mean_of_its_patches(dims: int) -> None:
    torch.manual_seed(0)
    critic = Critic(CriticConfig(2, dims, 4))
    images = torch.randn(3, 2, *[24, 28, 32][:dims])
    scores = critic(images)
    assert scores.shape == (3,)
    torch.testing.assert_close(scores, critic.model(images).flatten(1).mean(1))
    torch.testing.assert_close(scores[1:2], critic(images[1:2]))


def test_a_critic_refuses_images_without_a_whole_patch() -> None:
    critic = Critic(CriticConfig(1, 2, 4))
    assert critic(torch.zeros(1, 1, 24, 24)).isfinite().all()
    with pytest.raises(InputError, match=r"at least 24 pixels, not 23 x 40"):
        critic(torch.zeros(1, 1, 23, 40))


def test_every_network_has_every_size() -> None:
    assert resnet_module.SIZES.keys() == critics.SIZES.keys() == registration.SIZES.keys()


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_the_networks_that_exist(mode: str) -> None:
    with torch.device("meta"):
        nets = build_networks(MODES[mode], NetworksConfig(size="tiny", channels_in=2, side=32))
    assert set(nets) == MODES[mode].networks
    critic = nets["D_b"]
    assert isinstance(critic, Critic)
    assert critic.config.channels == (3 if MODES[mode].conditional else 1)
    assert isinstance(nets["G_ab"], ResNetGenerator)
    assert MODES[mode].needs_pairs == (mode not in ("nc", "c"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"generator": "none"}, "choose resnet"),
        ({"size": "huge"}, "tiny, small or paper"),
        ({"channels_out": 0}, "1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        NetworksConfig(**wrong)
    with pytest.raises(InputError, match="2 or 3"):
        build_networks(MODES["nc"], NetworksConfig(size="tiny", dims=4))
