"""Masks of a folder: found by name, by class or by reference, named once, and kept in the store."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_dicom import made
from PIL import Image

from radlearn.datasets.layouts import LAYOUTS
from radlearn.datasets.options import LayoutOptions
from radlearn.errors import InputError
from radlearn.records.mask_files import write_mask
from radlearn.records.prepare import prepare
from radlearn.records.record import ClassFiles, MaskFiles, Source
from radlearn.records.settings import PrepareConfig
from radlearn.records.shards import digest
from radlearn.records.store import Selection, open_store, select

SIDE = 32


def picture(path: Path, values: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(sum(path.name.encode())).integers(0, 256, (SIDE, SIDE), np.uint8)
    Image.fromarray(grey if values is None else values).save(path)
    return path


def organs(of: int = 2) -> np.ndarray:
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[4:20, 3:12], drawn[10:25, 18:28] = 1, of
    return drawn


def found(folder: Path, **options: Any) -> tuple[Source, dict[str, Any]]:
    source = LAYOUTS["folder"](folder / "images", LayoutOptions(**options))
    return source, {record.id: record.mask for record in source.records}


def store_of(folder: Path, **options: Any) -> Any:
    config = PrepareConfig(
        layout="folder",
        source=folder / "images",
        store=folder / "store",
        size=SIDE,
        workers=0,
        options=LayoutOptions(patient_from="file", **options),
        val=0,
        test=0,
    )
    return prepare(config), open_store(folder / "store")


def test_by_name_with_or_without_an_ending(tmp_path: Path) -> None:
    picture(tmp_path / "images/p1/a.png"), picture(tmp_path / "images/b.png")
    picture(tmp_path / "images/c.png")
    one = picture(tmp_path / "masks/p1/a.png", organs(1))
    two = picture(tmp_path / "masks/b_mask.tif", organs(1))
    source, masks = found(tmp_path, mask_folder=tmp_path / "masks")
    assert source.mask_names == ("mask",)
    assert masks == {"p1/a.png": MaskFiles((one,)), "b.png": MaskFiles((two,)), "c.png": None}


def test_a_file_a_class_in_folders_or_by_ending(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"images/{name}.png")
    lung = picture(tmp_path / "masks/lung/a.png", organs(0))
    heart = picture(tmp_path / "masks/heart/a.png", organs(0) * 0)
    both = [picture(tmp_path / f"masks/b_{name}.png", organs(1)) for name in ("lung", "heart")]
    alone = picture(tmp_path / "masks/lung/c.png", organs(0))
    names = ("lung", "heart")
    source, masks = found(tmp_path, mask_folder=tmp_path / "masks", mask_names=names)
    assert source.mask_names == names
    assert masks["a.png"] == ClassFiles(names, ((lung,), (heart,)))
    assert masks["b.png"] == ClassFiles(names, ((both[0],), (both[1],)))
    assert masks["c.png"] == ClassFiles(names, ((alone,), ()))
    summary, store = store_of(tmp_path, mask_folder=tmp_path / "masks", mask_names=names)
    assert summary.masks == 2 and store.mask_names == names
    (left_out,) = summary.set_aside
    assert left_out.path == "c.png" and "no file of the class heart" in left_out.reason


def test_values_with_names_and_what_the_store_says_of_them(tmp_path: Path) -> None:
    drawn = organs(255) * 1
    drawn[drawn == 1] = 80
    drawn[0] = 90
    for name in ("a", "b", "c"):
        picture(tmp_path / f"images/{name}.png")
    picture(tmp_path / "masks/a.png", drawn)
    picture(tmp_path / "masks/b.png", drawn * 0)
    options = {"mask_folder": tmp_path / "masks", "mask_names": ("lung=80", "heart=255")}
    summary, store = store_of(tmp_path, **options)
    assert summary.mask_names == store.mask_names == ("lung", "heart")
    assert summary.masks == store.info["masks"] == 2
    masks = {row["id"]: store.mask(i) for i, row in enumerate(store.rows.to_dicts())}
    expected = np.select([drawn == 80, drawn == 255], [1, 2])
    np.testing.assert_array_equal(masks["a.png"], expected)
    assert masks["b.png"] is not None and not masks["b.png"].any(), "empty is a mask"
    assert masks["c.png"] is None, "no mask is none"
    chosen = select([store], split=None, needs=frozenset({"mask"}))
    assert len(chosen) == 2 and chosen.mask_names == ("lung", "heart")
    on_disk = np.load(store.path / "masks-00000.npy")
    assert (on_disk[store.rows["id"].to_list().index("c.png")] == 255).all()


def test_a_mask_of_another_shape_is_left_out_and_of_another_resolution_counted(
    tmp_path: Path,
) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"images/{name}.png")
    picture(tmp_path / "masks/a.png", np.kron(organs(1), np.ones((3, 3), np.uint8)))
    picture(tmp_path / "masks/b.png", organs(1)[:20])
    picture(tmp_path / "masks/c.png", organs(1))
    summary, store = store_of(tmp_path, mask_folder=tmp_path / "masks", mask_names=("lung",))
    assert summary.masks == 2 and summary.masks_resized == store.info["masks_resized"] == 1
    (left_out,) = summary.set_aside
    assert left_out.path == "b.png"
    assert "the mask is 32 x 20 pixels and cannot lie on an image of 32 x 32" in left_out.reason
    masks = [store.mask(i) for i in range(3)]
    np.testing.assert_array_equal(
        [mask for mask in masks if mask is not None], [organs(1), organs(1)]
    )


def segs(folder: Path) -> dict[str, Path]:
    """Two radiographs, and a SEG of each under a name of its own."""
    images = {}
    for number, names in enumerate((("Lung", "heart"), ("heart", "Lung")), 1):
        path = folder / f"images/{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        images[path.name] = made(
            path,
            np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), np.uint8),
            SOPInstanceUID=f"1.2.3.{number}",
            StudyInstanceUID="1.2.7",
            SeriesInstanceUID="1.2.8",
            PatientID=f"p{number}",
        )
        out = folder / f"masks/export/1.2.840.{number * 77}"
        write_mask(organs(), names, path, out, "dicom-seg")
    return images


def test_dicom_seg_by_what_it_refers_to_and_classes_by_labels(tmp_path: Path) -> None:
    segs(tmp_path)
    (tmp_path / "masks/broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 200)
    source, masks = found(tmp_path, mask_folder=tmp_path / "masks")
    assert source.mask_names == ("heart", "Lung")
    assert masks["1.dcm"].paths == (tmp_path / "masks/export/1.2.840.77",)
    assert [one.path for one in source.set_aside] == ["broken.dcm"]
    _, store = store_of(tmp_path, mask_folder=tmp_path / "masks")
    assert store.mask_names == ("heart", "Lung")
    by_id = {row["id"]: store.mask(i) for i, row in enumerate(store.rows.to_dicts())}
    np.testing.assert_array_equal(by_id["1.dcm"], np.array([0, 2, 1])[organs()])
    np.testing.assert_array_equal(by_id["2.dcm"], organs())


def test_masks_among_their_images_are_no_images(tmp_path: Path) -> None:
    segs(tmp_path)
    (tmp_path / "masks/export").rename(tmp_path / "images/export")
    picture(tmp_path / "images/3.png"), picture(tmp_path / "images/3_lung.png", organs(0))
    names = ("lung", "heart")
    folder = tmp_path / "images"
    _, masks = found(tmp_path, mask_folder=folder, mask_names=names, patient_from="file")
    assert set(masks) == {"1.dcm", "2.dcm", "3.png"}
    assert isinstance(masks["1.dcm"], MaskFiles) and isinstance(masks["3.png"], ClassFiles)
    _, masks = found(tmp_path, mask_folder=folder)
    assert masks["3.png"] is None, "never its own mask"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("lung", "lung"), "twice"),
        (("lung=1", "heart=1"), "a value of its own"),
        (("lung=1", "heart"), "a value of its own"),
        (("lung=0",), "from? ?1 to 65535|1 to 65535"),
        (("lung=x",), "1 to 65535"),
        (("lung=99999999999999999999",), "1 to 65535"),
        (("",), "1 to 64 characters"),
        (("../x",), "without slashes"),
        (tuple(f"c{n}" for n in range(300)), "at most 254"),
    ],
)
def test_names_that_cannot_be_are_refused_at_the_door(names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        LayoutOptions(mask_names=names)


def test_two_values_may_be_one_class() -> None:
    options = LayoutOptions(mask_names=("lung=10", "heart=7", "lung=11"))
    assert options.mask_classes() == (("lung", "heart"), ((10, 1), (7, 2), (11, 1)))


def test_stores_of_different_classes_do_not_mix(tmp_path: Path) -> None:
    stores = []
    for place, name in (("one", "lung"), ("two", "heart"), ("three", "lung")):
        picture(tmp_path / place / "images/a.png")
        picture(tmp_path / place / "masks/a.png", organs(1))
        options = {"mask_folder": tmp_path / place / "masks", "mask_names": (name,)}
        stores.append(store_of(tmp_path / place, **options)[1])
    at = np.array([[0, 0], [1, 0]])
    assert Selection((stores[0], stores[2]), at).mask_names == ("lung",)
    with pytest.raises(InputError, match="masks of different classes"):
        _ = Selection((stores[0], stores[1]), at).mask_names


def test_a_mask_that_changed_is_no_longer_the_one_that_was_prepared(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    mask = picture(tmp_path / "masks/lung/a.png", organs(1))
    options = LayoutOptions(mask_folder=tmp_path / "masks", mask_names=("lung",))
    records = list(LAYOUTS["folder"](tmp_path / "images", options).records)
    before = digest(records)
    assert digest(records) == before
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert digest(records) != before
