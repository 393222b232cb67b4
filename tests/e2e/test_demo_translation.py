"""The demo's translation: real commands on drawn heads, in seconds; the demo takes more steps."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from radlearn import demo_translation
from radlearn.files import read_json
from radlearn.report.page import Gallery, Links, Section, Table


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Section]:
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_translation, "HEADS", 4)
        patch.setitem(demo_translation.TRAINING, "steps", 2)
        return out, demo_translation.translation(out, 0)


def test_both_modes_are_trained_alike_and_scored_on_the_same_slices(
    shown: tuple[Path, Section],
) -> None:
    out, _ = shown
    configs = [
        read_json(out / "translation" / run / "config.json", "a run") for run in ("P2P", "NC+R")
    ]
    assert [config["mode"] for config in configs] == ["p2p", "nc+r"]
    assert all(config["misalign"] == 3 for config in configs)
    for name in ("steps", "batch", "lr", "size", "seed", "fingerprints"):
        assert configs[0][name] == configs[1][name]
    differences = read_json(out / "translation" / "differences.json", "a comparison")
    assert differences["runs"] == ["P2P", "NC+R"] and differences["slices"] > 10


def test_the_page_has_scores_panels_and_the_way_to_the_runs(shown: tuple[Path, Section]) -> None:
    scores, panels, volume, links = shown[1].items
    assert isinstance(scores, Table) and isinstance(links, Links)
    assert [row[0] for row in scores.rows] == ["P2P", "NC+R", "NC+R − P2P"]
    assert all(" to " in cell for row in scores.rows for cell in row[1:])
    assert isinstance(panels, Gallery) and isinstance(volume, Gallery)
    names = ["T1", "T2", "P2P", "NC+R", "error of P2P", "error of NC+R"]
    assert [name for name, _ in panels.pictures[0].panels] == names
    assert len(volume.pictures) == 1
    assert [name for name, _, _ in links.links] == ["P2P", "NC+R", "differences"]


def test_a_new_volume_is_answered_in_its_own_space(shown: tuple[Path, Section]) -> None:
    out, _ = shown
    source = nibabel.load(out / "new_heads" / "head001" / "T1.nii.gz")
    (made,) = (nibabel.load(path) for path in (out / "translation" / "made").rglob("*.nii*"))
    assert made.shape == source.shape
    np.testing.assert_array_equal(made.affine, source.affine)


def test_the_same_call_goes_on_where_it_stopped(shown: tuple[Path, Section]) -> None:
    out, section = shown
    weights = [out / "translation" / run / "model" / "model.safetensors" for run in ("P2P", "NC+R")]
    times = [path.stat().st_mtime_ns for path in weights]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_translation, "HEADS", 4)
        patch.setitem(demo_translation.TRAINING, "steps", 2)
        again = demo_translation.translation(out, 0)
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert again.items[0] == section.items[0]
