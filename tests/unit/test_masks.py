"""Masks from run-lengths, pictures of classes, files a class and NIfTI."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageFilter

from radlearn.errors import UnreadableError
from radlearn.records.guard import Limits
from radlearn.records.masks import decode_runs, read_mask
from radlearn.records.record import ClassFiles, MaskFiles, RunLengths

ORGANS = ("lung", "heart")


def encoded(mask: np.ndarray) -> str:
    """Run-lengths as SIIM writes them: down the columns, a start counts from the last end."""
    runs, gap, length = [], 0, 0
    for value in mask.T.ravel():
        if value:
            length += 1
            continue
        if length:
            runs += [gap, length]
            gap, length = 0, 0
        gap += 1
    return " ".join(map(str, [*runs, gap, length] if length else runs))


def organs() -> np.ndarray:
    drawn = np.zeros((12, 16), np.uint8)
    drawn[2:8, 1:6], drawn[5:11, 8:13] = 1, 2
    return drawn


def saved(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        stored = np.ascontiguousarray(values.T)[:, :, None]
        nibabel.save(nibabel.Nifti1Image(stored, np.diag([-1.0, -1, 1, 1])), path)
    else:
        Image.fromarray(values).save(path)
    return path


def test_runs_go_down_the_columns_from_the_end_of_the_run_before() -> None:
    mask = decode_runs(RunLengths(("1 2 3 1",), height=4, width=3))
    assert mask.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]


@settings(max_examples=100, deadline=None)
@given(npst.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_decoding_undoes_encoding(mask: np.ndarray) -> None:
    runs = RunLengths((encoded(mask),), *mask.shape)
    np.testing.assert_array_equal(decode_runs(runs), mask)


def test_several_encodings_are_united_and_none_is_empty() -> None:
    one, two = np.zeros((2, 5, 4), bool)
    one[1:3, 1], two[2:5, 1:3] = True, True
    united = decode_runs(RunLengths((encoded(one), encoded(two)), 5, 4))
    np.testing.assert_array_equal(united, one | two)
    assert decode_runs(RunLengths((), 5, 4)).tolist() == [[0] * 4] * 5


@pytest.mark.parametrize("runs", ["1", "1 x", "0 21", "3 -1", "9" * 30 + " 1", "20 1", "1.5 2"])
def test_runs_that_cannot_be_are_refused(runs: str) -> None:
    with pytest.raises(UnreadableError, match="run-length"):
        decode_runs(RunLengths((runs,), 5, 4))


def test_a_mask_beyond_the_limits_is_refused_before_it_is_made() -> None:
    with pytest.raises(UnreadableError, match="100000 x 100000"):
        read_mask(RunLengths((), 100_000, 100_000), Limits(pixels=1000))


def test_the_files_of_a_mask_are_united(tmp_path: Path) -> None:
    left, right = np.zeros((2, 6, 8), np.uint8)
    left[:, :2], right[:, 5:] = 1, 255
    for name, values in (("left", left), ("right", right)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    mask = read_mask(MaskFiles((tmp_path / "left.png", tmp_path / "right.png")))
    np.testing.assert_array_equal(mask, (left + right) > 0)
    assert mask.dtype == np.uint8
    Image.fromarray(left[:3]).save(tmp_path / "right.png")
    with pytest.raises(UnreadableError, match="differ in size"):
        read_mask(MaskFiles((tmp_path / "left.png", tmp_path / "right.png")))


@pytest.mark.parametrize("ending", [".png", ".tif", ".nii.gz"])
@pytest.mark.parametrize("deep", [np.uint8, np.uint16])
def test_values_are_classes_and_255_is_not_annotated(
    ending: str, deep: type, tmp_path: Path
) -> None:
    drawn = organs().astype(deep)
    drawn[0, :3] = 255
    path = saved(tmp_path / f"mask{ending}", drawn)
    np.testing.assert_array_equal(read_mask(MaskFiles((path,), ORGANS)), drawn)


@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_a_table_of_values_says_which_are_classes(ending: str, tmp_path: Path) -> None:
    drawn = np.select([organs() == 1, organs() == 2], [500, 7]).astype(np.uint16)
    drawn[0] = 9
    path = saved(tmp_path / f"mask{ending}", drawn)
    mask = read_mask(MaskFiles((path,), ORGANS, ((500, 1), (7, 2))))
    np.testing.assert_array_equal(mask, organs())
    both = read_mask(MaskFiles((path,), ("organ",), ((500, 1), (7, 1))))
    np.testing.assert_array_equal(both, organs() > 0)


def test_a_palette_is_read_by_its_places_not_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(organs()).convert("P")
    picture.putpalette([0, 0, 0, 250, 5, 5, 5, 250, 5])
    picture.save(tmp_path / "mask.png")
    mask = read_mask(MaskFiles((tmp_path / "mask.png",), ORGANS))
    np.testing.assert_array_equal(mask, organs())


def test_three_hundred_classes_are_refused_by_the_first_that_has_no_name(tmp_path: Path) -> None:
    many = np.arange(300, dtype=np.uint16).reshape(15, 20)
    path = saved(tmp_path / "many.png", many)
    with pytest.raises(UnreadableError, match=r"^many\.png: the value 3 is none of its 2 classes"):
        read_mask(MaskFiles((path,), ORGANS))


@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_areas_of_several_values_are_no_binary_mask(ending: str, tmp_path: Path) -> None:
    path = saved(tmp_path / f"mask{ending}", organs())
    with pytest.raises(UnreadableError, match=r"areas of several values.*--mask-names"):
        read_mask(MaskFiles((path,)))


def test_the_softened_edge_of_a_binary_mask_counts_from_half_on(tmp_path: Path) -> None:
    hard = Image.new("L", (40, 40))
    hard.paste(255, (10, 10, 30, 25))
    hard.filter(ImageFilter.GaussianBlur(1)).save(tmp_path / "soft.png")
    mask = read_mask(MaskFiles((tmp_path / "soft.png",)))
    assert (mask != (np.asarray(hard) > 0)).mean() < 0.01


def test_jpeg_is_taken_for_a_binary_mask_only(tmp_path: Path) -> None:
    path = tmp_path / "mask.jpg"
    Image.fromarray(np.kron(organs() > 0, np.ones((8, 8))).astype(np.uint8) * 255).save(path)
    np.testing.assert_array_equal(
        read_mask(MaskFiles((path,))), np.kron(organs() > 0, np.ones((8, 8)))
    )
    with pytest.raises(UnreadableError, match="JPEG changes the values"):
        read_mask(MaskFiles((path,), ORGANS))


def test_colours_are_no_classes(tmp_path: Path) -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[2:4, :, 0], rgb[5:, :, 1] = 255, 255
    with pytest.raises(UnreadableError, match="colours"):
        read_mask(MaskFiles((saved(tmp_path / "mask.png", rgb),), ORGANS))


def test_one_file_a_class_and_the_later_one_lies_on_top(tmp_path: Path) -> None:
    lung = saved(tmp_path / "lung" / "a.png", (organs() == 1).astype(np.uint8) * 255)
    wide = organs() > 0
    heart = saved(tmp_path / "heart" / "a.nii.gz", wide.astype(np.uint8))
    mask = read_mask(ClassFiles(ORGANS, ((lung,), (heart,))))
    np.testing.assert_array_equal(mask, wide * 2)
    mask = read_mask(ClassFiles(("heart", "lung"), ((heart,), (lung,))))
    np.testing.assert_array_equal(mask, np.where(organs() == 1, 2, wide))


def test_a_class_without_a_file_is_not_taken_for_empty(tmp_path: Path) -> None:
    lung = saved(tmp_path / "a.png", organs() * 0)
    with pytest.raises(UnreadableError, match="no file of the class heart"):
        read_mask(ClassFiles(ORGANS, ((lung,), ())))
    assert not read_mask(ClassFiles(ORGANS, ((lung,), (lung,)))).any(), "empty files are empty"


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [(np.nan, "not finite"), (np.inf, "not finite"), (-1, "negative"), (0.5, "not whole numbers")],
)
@pytest.mark.parametrize("names", [(), ORGANS])
def test_nifti_of_what_is_no_class_is_refused(
    spoilt: float, reason: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    drawn = (organs() == 1).astype(np.float32)
    drawn[0, 0] = spoilt
    path = saved(tmp_path / "mask.nii.gz", drawn)
    with pytest.raises(UnreadableError, match=rf"^mask\.nii\.gz: .*{reason}"):
        read_mask(MaskFiles((path,), names))


def test_a_nifti_mask_lies_as_its_nifti_image_does(tmp_path: Path) -> None:
    turned = np.diag([1.0, -1, 1, 1])  # columns run to the right of the patient
    stored = np.ascontiguousarray(organs().T)[:, :, None]
    image, mask = tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(stored.astype(np.float32), turned), image)
    nibabel.save(nibabel.Nifti1Image(stored, turned), mask)
    shown = read_mask(MaskFiles((mask,), ORGANS), image=image)
    np.testing.assert_array_equal(shown, organs()[:, ::-1])
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), mask)
    with pytest.raises(UnreadableError, match="its affine puts it 11 mm beside its image"):
        read_mask(MaskFiles((mask,), ORGANS), image=image)
    slanted = turned @ np.array([[0.9, -0.4, 0, 0], [0.4, 0.9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(stored, slanted), mask)
    with pytest.raises(UnreadableError, match="turns it against its image"):
        read_mask(MaskFiles((mask,), ORGANS), image=image)


def test_a_volume_is_no_mask_of_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), path)
    with pytest.raises(UnreadableError, match="a volume of 4 x 5 x 6"):
        read_mask(MaskFiles((path,)))
