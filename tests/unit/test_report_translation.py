"""The page of a translation, and what its pictures show."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from made_translation_run import SIDE, field, head, scores, write_panel, write_run

from radlearn.engine.log import read_metrics
from radlearn.errors import InputError
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.report.panels import (
    FOLDED,
    error_limit,
    grey,
    grid_over,
    jacobian_of,
    jacobian_picture,
    magnitude,
    read_panels,
)
from radlearn.report.translation import translation_page
from radlearn.translation.evaluate import evaluate_translation


class _Parts(HTMLParser):
    """Pictures by what is written below them, and the words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "img":
            self.pictures.setdefault(str(named["alt"]), []).append(str(named["src"]))

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))


def page_of(run: Path, evaluate: bool = True) -> _Parts:
    config = json.loads((run / "config.json").read_text())
    evaluation = evaluate_translation(run, EvaluateConfig((run,), resamples=50))
    path = translation_page(run, read_metrics(run), evaluation if evaluate else None, config)
    assert path == run / "report.html"
    return _Parts(path.read_text())


def pixels(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


def test_the_page_has_all_that_a_reader_came_for(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    for name in ("source", "target", "G(a)", "error", "registered", "field", "Jacobian"):
        assert len(page.pictures[name]) == 2, name
    text = " ".join(page.words)
    for part in (
        "T1 to T2, mode nc+r, training pairs misaligned at level 3",
        "mean |G(a) − b| / 2 over the foreground",
        "they do not cover other patients or other seeds",
        "Each patient, as the paper",
        "Scores over steps",
        "test, 79 slices of 3 patients; fingerprint abc",
        "radlearn translate store",
    ):
        assert part in text, part
    for title in ("Adversarial", "Critic", "Registration", "Smoothness", "Learning rate"):
        assert title in page.words, title


def test_without_registration_there_is_no_field(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", registered=False))
    assert len(page.pictures["error"]) == 2
    assert not {"field", "Jacobian", "registered"} & set(page.pictures)
    assert "Fields" not in page.words and "Folding" not in page.words


def test_a_run_that_was_not_scored_has_a_page(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"), evaluate=False)
    assert "Scores" not in page.words
    assert any("Not evaluated" in words for words in page.words)


def test_all_pictures_share_one_grey_window_and_one_scale_of_errors(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_panel(run / "panels" / "01.npz", made=head(18, 0.6))
    page = page_of(run)
    middle = SIDE // 2
    shown = [pixels(page.pictures[name][0])[middle, middle] for name in ("source", "target")]
    assert shown == [153, 204]  # 0.2 and 0.6 between black at -1 and white at 1
    errors = [pixels(uri)[middle, middle].sum() for uri in page.pictures["error"]]
    assert errors[0] > 100 > 20 > errors[1]


def test_several_channels_are_shown_each_by_its_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    names = {"source_names": ["T1", "FLAIR"], "target_names": ["T2"]}
    (run / "model" / "config.json").write_text(json.dumps(names))
    write_panel(run / "panels" / "00.npz", source=np.concatenate([head(18, 0.2), head(9, 0.5)]))
    page = page_of(run)
    assert len(page.pictures["T1"]) == len(page.pictures["FLAIR"]) == 1
    assert "Run run: T1 + FLAIR to T2" in " ".join(page.words)


def test_names_from_elsewhere_are_text_and_ids_stay_away(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", scores({"<b>ann</b>": 9}))
    write_panel(run / "panels" / "00.npz", id="JONES^MARY")
    text = (page_of(run), (run / "report.html").read_text())[1]
    assert "<b>ann" not in text and "&lt;b&gt;ann" in text
    assert "JONES" not in text


def test_folding_is_counted_and_painted() -> None:
    plain, folded = jacobian_of(field()), jacobian_of(field(folds=True))
    assert (plain > 0).all()
    share = (folded <= 0).mean()
    assert 0.4 < share < 0.6
    painted = (jacobian_picture(folded, 1.0) == FOLDED).all(-1)
    assert painted.mean() == share
    assert not (jacobian_picture(plain, 1.0) == FOLDED).all(-1).any()


def test_magnitude_is_in_pixels_or_in_millimetres_of_each_axis() -> None:
    moved = np.stack([np.full((4, 5), 3.0), np.full((4, 5), 4.0)]).astype(np.float32)
    assert magnitude(moved) == pytest.approx(np.full((4, 5), 5.0))
    assert magnitude(moved, (2.0, 0.5)) == pytest.approx(np.full((4, 5), np.sqrt(36 + 4)))


def test_the_grid_stands_where_the_field_points() -> None:
    """Without a field its lines are straight; moved down by a row, so are the horizontal ones."""
    still = np.zeros((2, SIDE, SIDE), np.float32)
    black = np.full((SIDE, SIDE), -1.0, np.float32)
    down = np.stack([still[0] + 1, still[1]])
    rows = [grid_over(black, one)[:, 10].sum(-1, dtype=int) for one in (still, down)]
    zoom = len(rows[0]) // SIDE
    assert np.abs(rows[1][zoom * 5 : -zoom * 5] - rows[0][zoom * 4 : -zoom * 6]).max() < 60
    assert np.abs(rows[1] - rows[0]).max() > 200


def test_greys_and_limits_are_fixed() -> None:
    assert grey(np.array([[-1.0, 0.0, 1.0, 2.0, np.nan]], np.float32)).tolist() == [
        [0, 128, 255, 255, 0]
    ]


def test_the_errors_end_above_what_is_there(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    panels = read_panels(run)
    assert 0.7 < error_limit(panels) <= 0.85  # of a ring of 0.8 where G(a) is too small
    before, after = panels[0].foreground_errors()
    assert after is not None and before > after > 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"made": head(18, 0.1)[:, :40]}, "differ in size"),
        ({"field": np.zeros((2, 3, 3), np.float32)}, "differ in size"),
        ({"source": np.zeros((SIDE, SIDE), np.float32)}, "differ in size"),
        ({"slice": "x"}, "cannot read the panel"),
        ({"made": np.array([{}], dtype=object)}, "cannot read the panel"),
    ],
)
def test_a_spoilt_panel_is_one_line(tmp_path: Path, spoil: dict[str, Any], message: str) -> None:
    run = write_run(tmp_path / "run")
    write_panel(run / "panels" / "00.npz", **spoil)
    with pytest.raises(InputError, match=message):
        read_panels(run)


def test_a_panel_cut_short_is_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    file = run / "panels" / "00.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot read the panel"):
        read_panels(run)
