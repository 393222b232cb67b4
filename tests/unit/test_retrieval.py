"""What retrieval ranks by: features of whole images, likelihoods of reports, the space learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radlearn.engine.device import Compute
from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig
from radlearn.models.mrm import MRM, ImageDecoderConfig, Masking, MRMConfig
from radlearn.models.report_decoder import ReportDecoderConfig
from radlearn.pretraining import retrieval_likelihood
from radlearn.pretraining.retrieval import Scorer, nearest_pairs
from radlearn.pretraining.retrieval_answers import said
from radlearn.pretraining.retrieval_likelihood import halves, information, log_likelihoods
from radlearn.pretraining.retrieval_reader import Reader
from radlearn.pretraining.retrieval_space import learn_space
from radlearn.records.reports import MASK, PAD, continuation_pieces, train_wordpiece
from radlearn.records.transforms import Preprocessing, as_tensor, normalised

PLACES = ("left", "right", "upper", "lower", "apical", "basal")
FINDINGS = ("effusion", "nodule", "consolidation", "pneumothorax")
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A tiny MRM that was not trained, and a tokenizer of a few words."""
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    reports = [f"A {place} {finding}. No other." for place in PLACES for finding in FINDINGS]
    tokenizer = train_wordpiece(reports, 80, path)
    torch.manual_seed(0)
    model = MRM(
        MRMConfig(
            BackboneConfig("vit_tiny_patch16_224", TINY),
            ImageDecoderConfig(width=16, layers=2, heads=2, scale=1),
            ReportDecoderConfig(16, 2, 2, 32, tokenizer.get_vocab_size(), positions=16),
        )
    )
    for parameter in model.parameters():  # as large as after training, so that z matters
        parameter.data *= 3
    here = Compute(torch.device("cpu"), bfloat16=False)
    settings = {"mask_ratio": 0.75}
    return Reader(model.eval(), Preprocessing(32, 0.5, 0.25), tokenizer, settings, here)


REPORTS = ["A left effusion.", "No nodule, no consolidation and no effusion.", "Clear."]


def test_every_word_is_hidden_once_and_whole(reader: Reader) -> None:
    continuation = continuation_pieces(reader.tokenizer)
    for row in reader.tokens([*REPORTS, "pneumothorax " * 20]):
        first, second = halves(row, continuation)
        assert not (first & second).any()
        words = row != PAD
        words[[0, -1]] = False
        assert ((first | second) == words).all()
        inside = continuation[row] & words & np.roll(words, 1)
        assert (first[inside] == np.roll(first, 1)[inside]).all()


def test_likelihoods_do_not_depend_on_company(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = reader.tokens(REPORTS)
    z = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    pairs = np.argwhere(np.ones((4, 3), bool))
    together = log_likelihoods(reader, tokens, z, pairs)
    alone = [log_likelihoods(reader, tokens, z, pair[None])[0] for pair in pairs]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    monkeypatch.setattr(retrieval_likelihood, "LOGITS", 1)
    np.testing.assert_allclose(log_likelihoods(reader, tokens, z, pairs), alone, rtol=1e-4)


def test_a_likelihood_is_the_sum_over_words_hidden(reader: Reader) -> None:
    """Against the decoder asked word by word, with the whole vocabulary's softmax."""
    tokens = reader.tokens(REPORTS[:1])
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(2))
    expected = 0.0
    for hidden in halves(tokens[0], continuation_pieces(reader.tokenizer)):
        for place in np.flatnonzero(hidden):
            wanted = np.zeros_like(hidden)
            wanted[place] = True
            masked = torch.from_numpy(np.where(hidden, MASK, tokens[0]))[None]
            logits = reader.decoder(masked, torch.from_numpy(wanted)[None], z)
            expected += logits.detach().log_softmax(-1)[0, tokens[0, place]].item()
    found = log_likelihoods(reader, tokens, z, np.array([[0, 0]]))
    assert found[0] == pytest.approx(expected, rel=1e-4)


def test_the_average_image_tells_nothing(reader: Reader) -> None:
    tokens = reader.tokens(REPORTS)
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(3))
    pairs = np.argwhere(np.ones((2, 3), bool))
    told = information(reader, tokens, z, pairs, z[1]).reshape(2, 3)
    np.testing.assert_allclose(told[1], 0, atol=1e-5)
    assert np.abs(told[0]).min() > 1e-3


def test_features_see_every_patch_and_no_company(reader: Reader) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 32, 32), dtype=np.uint8)
    features = reader.features(lambda at: pictures[at], 5)
    assert torch.allclose(reader.features(lambda at: pictures[at], 5, batch=2), features, atol=1e-5)
    changed = np.stack([pictures[0]] * 16)
    for patch in range(16):
        row, column = 8 * (patch // 4), 8 * (patch % 4)
        changed[patch, row : row + 8, column : column + 8] ^= 255
    moved = reader.features(lambda at: changed[at], 16) - features[0]
    assert (moved.abs().amax(1) > 1e-4).all()


def planted(count: int, seed: int, link: float) -> tuple[np.ndarray, list[str], list[str]]:
    """Features that hold a report's place and finding, as far as `link` says, under noise."""
    rng = np.random.default_rng(seed)
    place, finding = rng.integers(0, 6, count), rng.integers(0, 4, count)
    plain = np.concatenate([np.eye(6)[place], np.eye(4)[finding]], axis=1)
    mixing = np.random.default_rng(9).normal(size=(10, 30))
    features = link * plain @ mixing + rng.normal(size=(count, 30)) + 5
    reports = [f"A {PLACES[p]} {FINDINGS[f]}." for p, f in zip(place, finding, strict=True)]
    return features, reports, [f"P{at // 2}" for at in range(count)]


@pytest.mark.parametrize(("link", "low", "high"), [(2.0, 0.7, 1.0), (0.0, 0.0, 0.15)])
def test_a_space_finds_what_is_there_and_nothing_else(
    reader: Reader, link: float, low: float, high: float
) -> None:
    space = learn_space(*planted(300, 0, link), reader.tokenizer)
    features, reports, _ = planted(200, 1, link)
    texts = list(dict.fromkeys(reports))
    scores = space.scores(features, texts)
    assert scores.max() <= 1 + 1e-9
    right = np.mean(
        [texts[best] == own for best, own in zip(scores.argmax(1), reports, strict=True)]
    )
    assert low <= right <= high  # of 24 different reports


def test_a_space_does_not_mind_the_scale_of_features(reader: Reader) -> None:
    features, reports, patients = planted(100, 0, 1.0)
    scale = np.logspace(-3, 3, 30)
    space = learn_space(features, reports, patients, reader.tokenizer)
    scaled = learn_space(features * scale, reports, patients, reader.tokenizer)
    assert space.ridge == scaled.ridge
    np.testing.assert_allclose(
        space.scores(features, reports[:5]), scaled.scores(features * scale, reports[:5]), atol=1e-6
    )


def test_words_that_no_training_report_has_are_not_known(reader: Reader) -> None:
    space = learn_space(*planted(60, 0, 1.0), reader.tokenizer)
    assert space.words.known("effusion")
    assert not space.words.known("12 ???")


def test_too_few_pairs_and_one_report_for_all_are_refused(reader: Reader) -> None:
    features, reports, patients = planted(30, 0, 1.0)
    with pytest.raises(InputError, match="too few"):
        learn_space(features[:10], reports[:10], patients[:10], reader.tokenizer)
    with pytest.raises(InputError, match="say the same"):
        learn_space(features, ["Clear."] * 30, patients, reader.tokenizer)


def test_only_the_nearest_pairs_are_read(reader: Reader) -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.7, 0.2, 0.0]])
    chosen = nearest_pairs(scores, 1)
    assert np.argwhere(chosen).tolist() == [[0, 0], [0, 2], [1, 0], [1, 1], [2, 0]]
    features, reports, patients = planted(60, 0, 1.0)
    features = np.tile(features, 4)[:, :96]  # four quarters of 24
    space = learn_space(features, reports, patients, reader.tokenizer)
    scorer = Scorer(reader, space, torch.zeros(16), nearest=1)
    told = scorer(torch.from_numpy(features[:4]).float(), REPORTS)
    read = nearest_pairs(space.scores(features[:4].astype(np.float32), REPORTS), 1)
    assert told[read].min() > told[~read].max() and np.isfinite(told).all()


def test_the_summary_is_of_the_mean_over_all_patches(reader: Reader) -> None:
    """As training reads it, of one view that sees everything."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    whole = replace(reader, config={"mask_ratio": 0.25})
    z = whole.summaries(whole.features(lambda _: picture, 1))
    seen = normalised(as_tensor(picture)[None], reader.preprocessing)
    everything = torch.arange(16)[None]
    latent = reader.model.encode(seen, Masking(everything, everything[:, :0]))
    torch.testing.assert_close(z, reader.model.summary(latent), rtol=1e-4, atol=1e-5)


def test_reports_that_differ_in_case_and_signs_say_the_same() -> None:
    assert said("No acute  disease.") == said("no ACUTE disease!")
    assert said("no acute disease") != said("acute disease")
