"""Reports: cleaned, cut into WordPiece tokens, and masked as MRM does."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from radlearn.errors import InputError
from radlearn.files import replacing

PAD, UNKNOWN, CLS, MASK = 0, 1, 2, 3
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[MASK]")
CONTINUATION = "##"
LENGTH = 100
EMPTY_WORDS = {"", "nan", "none", "n/a", "na", "null"}

HEADER = re.compile(r"^[ \t]*([A-Z][A-Z ,/&()'-]{2,60}):", re.MULTILINE)
RESULTS = ("FINDINGS", "IMPRESSION", "CONCLUSION")
NOT_RESULTS = (
    *("EXAM", "STUDY", "INDICATION", "HISTORY", "REASON", "CLINICAL", "TECHNIQUE", "COMPARISON"),
    *("NOTIFICATION", "RECOMMENDATION", "WET READ", "TYPE OF", "PROCEDURE"),
)
TITLES = re.compile(r"^\s*(FINAL (REPORT|ADDENDUM)|WET READ).*$", re.MULTILINE)


def clean_report(text: str) -> str:
    """One line with single spaces; empty where the text only says that there is none.

    What the source put in place of names (`XXXX`, `___`) stays: it holds the sentence together,
    and the published vocabulary has it.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "" if line.lower() in EMPTY_WORDS else line


def findings_and_impression(text: str) -> str:
    """The results of a free-text report: its findings and impression, cleaned, in their order.

    Sections are what stands between headers in capitals ending in a colon at the start of a line.
    A report without a result section gives all that is not known to be something else
    (examination, indication, technique, comparison ...).
    """
    text = TITLES.sub("", text)
    headers = list(HEADER.finditer(text))
    ends = [h.start() for h in headers[1:]] + [len(text)]
    sections = [("", text[: headers[0].start() if headers else len(text)])]
    sections += [(h[1].strip(), text[h.end() : end]) for h, end in zip(headers, ends, strict=False)]
    results = [clean_report(body) for name, body in sections if name.startswith(RESULTS)]
    if not any(results):
        results = [
            clean_report(body) for name, body in sections if not name.startswith(NOT_RESULTS)
        ]
    return " ".join(part for part in results if part)


def train_wordpiece(reports: Iterable[str], vocabulary_size: int, path: Path) -> Tokenizer:
    """Train a WordPiece tokenizer of the published kind on reports and write it as JSON.

    Args:
        reports: texts; iterated once.
        vocabulary_size: entries with the four special ones, at most.
        path: where the JSON goes; the same reports give the same bytes.

    Raises:
        InputError: the reports hold no word, or the size does not hold their letters.
    """
    normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.NFKD(), normalizers.StripAccents()]
    )
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)]
    )
    texts = list(reports)
    words = [w for t in texts for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(t))]
    if not words:
        raise InputError("no report holds a word to train a tokenizer on; give a tokenizer's JSON")
    first = sorted({w[0] for w in words})
    later = sorted({CONTINUATION + c for w in words for c in w[1:]})
    if len(SPECIAL) + len(first) + len(later) > vocabulary_size:
        least = len(SPECIAL) + len(first) + len(later)
        raise InputError(f"a vocabulary of {vocabulary_size} is too small: letters take {least}")
    # The trainer numbers letters in the order of a hash map unless it is given them, and ties
    # between merges go by number: handing it every letter makes the result repeatable.
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[*SPECIAL, *first, *later],
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = Tokenizer(
        models.WordPiece(
            tokenizer.get_vocab(with_added_tokens=True),
            unk_token=SPECIAL[UNKNOWN],
            max_input_chars_per_word=100,
        )
    )
    trained.normalizer, trained.pre_tokenizer = normalizer, splitter
    trained.add_special_tokens(list(SPECIAL))
    with replacing(path) as temporary:
        trained.save(str(temporary))
    return load_tokenizer(path)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer's JSON whose first entries are [PAD], [UNK], [CLS] and [MASK].

    Raises:
        InputError: no such file, not a tokenizer, or other special tokens.
    """
    if not path.is_file():
        raise InputError(f"there is no tokenizer at {path}; give the path of its JSON")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{path} is not a tokenizer's JSON: {error}") from error
    found = tuple(tokenizer.id_to_token(i) for i in range(len(SPECIAL)))
    if found != SPECIAL:
        raise InputError(f"{path} starts with {found}; MRM needs {SPECIAL} as its first entries")
    tokenizer.encode_special_tokens = True  # a report that says "[MASK]" must not become one
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
    return tokenizer


def continuation_pieces(tokenizer: Tokenizer) -> Bool[np.ndarray, " vocabulary"]:
    """Which entries continue a word (`##...`)."""
    names = (tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size()))
    return np.array([name.startswith(CONTINUATION) for name in names])


def encode(tokenizer: Tokenizer, text: str, length: int = LENGTH) -> Int64[np.ndarray, " length"]:
    """[CLS] and the text's pieces, cut and padded to `length`."""
    pieces = tokenizer.encode(text, add_special_tokens=False).ids[: length - 1]
    ids = np.full(length, PAD, dtype=np.int64)
    ids[: len(pieces) + 1] = [CLS, *pieces]
    return ids


def mask_report(
    ids: Int64[np.ndarray, " length"],
    is_continuation: Bool[np.ndarray, " vocabulary"],
    rng: np.random.Generator,
    probability: float = 0.5,
) -> tuple[Int64[np.ndarray, " length"], Bool[np.ndarray, " length"]]:
    """Hide whole words as MRM does (Zhou et al., ICLR 2023).

    The first and the last position, and all from the first padding on, stay. A piece that
    continues a word shares the fate of the piece before it; any other is hidden with `probability`.

    Returns:
        The ids with [MASK] where hidden, and where that is.
    """
    length = len(ids)
    drawn = rng.random(length) < probability
    drawn[0] = False
    starts = np.where(is_continuation[ids], 0, np.arange(length))
    hidden = drawn[np.maximum.accumulate(starts)]
    hidden[-1] = False
    padding = np.flatnonzero(ids == PAD)
    if len(padding):
        hidden[padding[0] :] = False
    return np.where(hidden, MASK, ids), hidden
