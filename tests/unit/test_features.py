"""A frozen backbone's features: the same logits as the whole model, and a head that starts well."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radlearn.finetuning.features import log_odds, start_head
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.heads import head_logits

TINY = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def classifier(labels: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_classifier(BackboneConfig("vit_tiny_patch16_224", TINY), labels).eval()


def features(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.pool(model.forward_features(images))


def test_features_and_head_make_the_whole_models_logits() -> None:
    model = classifier()
    torch.nn.init.normal_(model.head.weight)
    images = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(head_logits(model, features(model, images)), model(images))


def test_a_started_head_sees_standardised_features_and_predicts_the_shares() -> None:
    model = classifier()
    seen = features(model, torch.randn(64, 3, 16, 16))
    labels = torch.zeros(64, 3)
    labels[:16, 0] = 1
    labels[:, 1] = torch.nan
    labels[:, 2] = 1
    start_head(model, seen, log_odds(labels))
    inside = model.fc_norm(seen)
    torch.testing.assert_close(inside.mean(0), torch.zeros(24), atol=1e-4, rtol=0)
    assert (inside.std(0, correction=0) > 0.5).all() and (inside.std(0, correction=0) < 1.01).all()
    shares = model.head.bias.sigmoid()
    torch.testing.assert_close(shares[0], torch.tensor(16.5 / 65))
    torch.testing.assert_close(shares[1], torch.tensor(0.5))
    assert 0.98 < shares[2] < 1


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.floats(0, 1e4))
def test_a_start_from_any_records_stays_finite(count: int, scale: float) -> None:
    model = classifier()
    seen = torch.randn(count, 24) * scale
    start_head(model, seen, log_odds(torch.full((count, 3), torch.nan)))
    assert all(p.isfinite().all() for p in model.parameters())
