"""Masks from the command line: DICOM SEG beside radiographs, into a store and out again."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.seg import segread

from radlearn.cli import main
from radlearn.records.geometry import unfitted
from radlearn.records.mask_files import write_mask
from radlearn.records.phantoms import write_phantoms
from radlearn.records.readers import read_pixels
from radlearn.records.store import open_store

SIDE = 384  # of the phantoms' DICOM files: nothing is resized, so that nothing may change


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_a_seg_goes_into_a_store_and_comes_out_the_same(fit: str, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "made", 2, 96, seed=1, dicom=2)
    exams = tmp_path / "exams"
    exams.mkdir()
    drawn = {}
    for number, path in enumerate(sorted((tmp_path / "made").rglob("*.dcm"))):
        image = path.rename(exams / f"{number}.dcm")
        dataset = pydicom.dcmread(image)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", f"1.2.3.{number}"
        dataset.save_as(image)
        mask = np.zeros(read_pixels(image).values.shape, np.uint8)
        mask[130:270, 40:165], mask[90:200, 200:310] = 1, 2
        assert mask.shape == (SIDE, SIDE)
        drawn[image.name] = mask
        write_mask(mask, ("lung", "heart"), image, tmp_path / f"masks/{number}77.dcm", "dicom-seg")
    assert drawn
    place = tmp_path / "store"
    flags = ("--mask-folder", tmp_path / "masks", "--mask-names", "heart", "lung", "--fit", fit)
    words = ("prepare", "folder", exams, place, "--size", SIDE, "--workers", 0, *flags)
    assert main([str(word) for word in words]) == 0
    store = open_store(place)
    assert store.mask_names == ("heart", "lung") and store.info["masks"] == len(drawn)
    for row, record in enumerate(store.rows.to_dicts()):
        square = store.mask(row)
        assert square is not None
        back = unfitted(square, record["height"], record["width"], fit)
        expected = np.array([0, 2, 1], np.uint8)[drawn[record["id"]]]
        np.testing.assert_array_equal(back, expected)
        out = tmp_path / "back.dcm"
        write_mask(back, store.mask_names, exams / record["id"], out, "dicom-seg")
        seg = segread(out)
        uid = pydicom.dcmread(exams / record["id"]).SOPInstanceUID
        pixels = seg.get_pixels_by_source_instance([uid], combine_segments=True)
        np.testing.assert_array_equal(pixels[0], expected)
