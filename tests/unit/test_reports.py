"""Reports: cleaned, cut into sections and tokens, masked word by word."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlearn.errors import InputError
from radlearn.records.reports import (
    CLS,
    MASK,
    PAD,
    clean_report,
    continuation_pieces,
    encode,
    findings_and_impression,
    load_tokenizer,
    mask_report,
    train_wordpiece,
)

REPORTS = [
    "The heart is normal in size. The lungs are clear.",
    "Small left pleural effusion; no pneumothorax.",
    "Patchy opacities in both lower lobes, likely pneumonia (XXXX).",
    "Cardiomegaly 12.5 cm with pleural effusions. Überblähung.",
] * 3


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  Heart\r\n size\tnormal. ", "Heart size normal."),
        ("No XXXX of ___ effusion.", "No XXXX of ___ effusion."),
        ("Lungs\x00 clear\u200b.", "Lungs clear ."),
        ("NaN", ""),
        (" None ", ""),
        ("", ""),
    ],
)
def test_cleaning_leaves_one_line_of_what_was_said(text: str, clean: str) -> None:
    assert clean_report(text) == clean


@pytest.mark.parametrize(
    ("text", "results"),
    [
        (
            " EXAMINATION:  CHEST\n\n FINDINGS:\n Clear\n lungs.\n IMPRESSION:\n Normal.",
            "Clear lungs. Normal.",
        ),
        (
            " IMPRESSION:  No acute process: stable.\n\n NOTIFICATION: Dr. ___",
            "No acute process: stable.",
        ),
        ("FINDINGS AND IMPRESSION: Clear.\nINDICATION: cough", "Clear."),
        (
            "FINAL REPORT\n INDICATION: cough\n PA AND LATERAL CHEST: The lungs are clear.",
            "The lungs are clear.",
        ),
        ("Lungs are clear, no effusion.", "Lungs are clear, no effusion."),
        (" FINDINGS:\n\n IMPRESSION:\n\n CHEST: Clear.", "Clear."),
        ("", ""),
    ],
)
def test_results_are_what_stands_under_findings_and_impression(text: str, results: str) -> None:
    assert findings_and_impression(text) == results


def test_a_trained_tokenizer_is_of_the_published_kind(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(REPORTS, 200, tmp_path / "tokenizer.json")
    assert [tokenizer.id_to_token(i) for i in range(4)] == ["[PAD]", "[UNK]", "[CLS]", "[MASK]"]
    assert tokenizer.get_vocab_size() <= 200
    pieces = tokenizer.encode("PLEURAL Uberblahung, 12.5 cm").tokens
    assert "[UNK]" not in pieces
    assert "pleural" in pieces  # lower case, found whole since it is frequent
    assert tokenizer.decode(tokenizer.encode("no pneumothorax").ids) == "no pneumothorax"
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert [t["content"] for t in saved["added_tokens"]] == ["[PAD]", "[UNK]", "[CLS]", "[MASK]"]


def test_training_a_tokenizer_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):  # hash maps are seeded anew at each training
        train_wordpiece(iter(REPORTS), 150, tmp_path / f"{name}.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_tokenizer_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no report holds a word"):
        train_wordpiece(["", "  "], 100, tmp_path / "t.json")
    with pytest.raises(InputError, match="too small"):
        train_wordpiece(REPORTS, 10, tmp_path / "t.json")
    with pytest.raises(InputError, match="no tokenizer at"):
        load_tokenizer(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        load_tokenizer(tmp_path / "t.json")
    train_wordpiece(REPORTS, 150, tmp_path / "other.json")
    swapped = json.loads((tmp_path / "other.json").read_text(encoding="utf-8"))
    swapped["added_tokens"] = []
    vocabulary = swapped["model"]["vocab"]
    vocabulary["[CLS]"], vocabulary["[MASK]"] = vocabulary["[MASK]"], vocabulary["[CLS]"]
    (tmp_path / "other.json").write_text(json.dumps(swapped))
    with pytest.raises(InputError, match="first entries"):
        load_tokenizer(tmp_path / "other.json")


def test_encoding_starts_with_cls_and_is_cut_or_padded(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(REPORTS, 200, tmp_path / "t.json")
    ids = encode(tokenizer, "pleural effusion", length=8)
    assert ids.dtype == np.int64
    assert ids[0] == CLS
    assert list(ids[1:3]) == [tokenizer.token_to_id("pleural"), tokenizer.token_to_id("effusion")]
    assert (ids[3:] == PAD).all()
    cut = encode(tokenizer, "pleural " * 50, length=8)
    assert list(cut[1:]) == [tokenizer.token_to_id("pleural")] * 7
    assert list(encode(tokenizer, "", length=4)) == [CLS, PAD, PAD, PAD]


def test_a_report_cannot_smuggle_special_tokens_in(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(REPORTS, 200, tmp_path / "t.json")
    ids = encode(tokenizer, "effusion [PAD] [MASK] [CLS] pleural", length=40)
    body = ids[1 : np.flatnonzero(ids == tokenizer.token_to_id("pleural"))[0]]
    assert not np.isin(body, (PAD, MASK, CLS)).any()


def test_the_published_tokenizer_encodes_as_its_authors_did(radlearn_data: Path) -> None:
    from tokenizers import Tokenizer

    path = radlearn_data / "mimic_wordpiece.json"
    theirs = Tokenizer.from_file(str(path))
    text = (
        "There is a large left-sided pleural effusion (2.5 cm), hydropneumothorax; ___ follow-up."
    )
    expected = theirs.encode("[CLS] " + text).ids
    assert list(encode(load_tokenizer(path), text, length=len(expected))) == expected
    assert continuation_pieces(load_tokenizer(path)).shape == (30_000,)


def test_a_tokenizer_of_ours_normalises_as_the_published_one(
    radlearn_data: Path, tmp_path: Path
) -> None:
    train_wordpiece(REPORTS, 150, tmp_path / "ours.json")
    ours, theirs = (
        json.loads(p.read_text(encoding="utf-8"))
        for p in (tmp_path / "ours.json", radlearn_data / "mimic_wordpiece.json")
    )
    for part in ("normalizer", "pre_tokenizer", "added_tokens", "post_processor"):
        assert ours[part] == theirs[part]
    assert {**ours["model"], "vocab": 0} == {**theirs["model"], "vocab": 0}


def word_by_word(ids: np.ndarray, continuation: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """METHODS, section 1, read literally; `drawn` says what a word at a position would get."""
    hidden = np.zeros(len(ids), bool)
    for i in range(1, len(ids) - 1):
        if ids[i] == PAD:
            break
        hidden[i] = hidden[i - 1] if continuation[ids[i]] else drawn[i]
    return hidden


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.integers(4, 11), max_size=19),
    probability=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_masking_goes_word_by_word(words: list[int], probability: float, seed: int) -> None:
    continuation = np.arange(12) >= 9
    ids = np.full(20, PAD, np.int64)
    ids[: len(words) + 1] = [CLS, *words]
    drawn = np.random.default_rng(seed).random(20) < probability
    masked, hidden = mask_report(ids, continuation, np.random.default_rng(seed), probability)
    np.testing.assert_array_equal(hidden, word_by_word(ids, continuation, drawn))
    np.testing.assert_array_equal(masked, np.where(hidden, MASK, ids))


def test_half_of_the_words_are_masked_and_words_stay_whole() -> None:
    continuation = np.arange(12) >= 9
    ids = np.array([CLS, *[4, 9, 10] * 33], np.int64)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        hidden = mask_report(ids, continuation, rng)[1]
        words = hidden[1:-3].reshape(-1, 3)
        assert (words == words[:, :1]).all()
        shares.append(words[:, 0].mean())
    assert abs(np.mean(shares) - 0.5) < 0.02
    assert not hidden[0]
    assert not hidden[-1]
