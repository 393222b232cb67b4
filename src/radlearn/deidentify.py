"""`radlearn deidentify`: DICOM images in, the same images out without who they are of."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from radlearn.errors import InputError
from radlearn.records.limits import LimitFlags

DOUBT = "of a kind that often has text in its pixels, such as ultrasound and secondary capture"


@dataclass(frozen=True)
class DeidentifyConfig:
    """Take out of a folder of DICOM images who they are of, by the standard's basic profile.

    Patients and UIDs become codes that only the key leads back to: the same key gives the same
    codes in every folder, and in the stores made with it. What is burnt into pixels stays: images
    that say so are set aside; kinds that often hold text, and rows of letters where they are found,
    are pointed out. What is not pointed out may show text all the same.

    Example: radlearn deidentify exams/ shared/ --keep-characteristics True
    """

    source: Annotated[Path, tyro.conf.Positional]
    """A folder of DICOM files; everything below it is read."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder for the images: a folder a patient, study and series, by their codes."""
    key: Path | None = None
    """File of the key, not to be given away; default: made beside the folder, OUT.key."""
    keep_characteristics: bool = False
    """Keep sex, age, size and weight."""
    limits: Annotated[LimitFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=LimitFlags)

    def __post_init__(self) -> None:
        if not self.source.is_dir():
            raise InputError(f"{self.source} is not a folder; give a folder of DICOM files")
        inside, outside = self.out.resolve(), self.source.resolve()
        if inside == outside or outside in inside.parents or inside in outside.parents:
            raise InputError(f"{self.out} and {self.source} overlap; choose a folder apart")


def deidentify_folder(config: DeidentifyConfig) -> int:
    """Write every image that can be made anonymous; what cannot is listed beside the folder.

    Images that are there already are left as they are, so that the same command goes on.

    Returns:
        0 when every file was written, 1 when some were set aside.

    Raises:
        InputError: the key cannot be read, nothing could be written, or two files are one image.
    """
    from pydicom import dcmwrite

    from radlearn.datasets.places import walk
    from radlearn.engine.log import console, progress
    from radlearn.errors import UnreadableError
    from radlearn.files import replacing, writable
    from radlearn.records.dicom_header import read_whole
    from radlearn.records.dicom_identity import deidentify, found_text, may_show_text, refuse_text
    from radlearn.records.finish import write_set_aside
    from radlearn.records.guard import refusals, step
    from radlearn.records.record import SetAside

    writable(config.out)
    key = _key(config)
    set_aside: list[SetAside] = []
    files = list(walk(config.source, set_aside))
    doubtful: list[SetAside] = []
    written = 0
    with progress("deidentify", len(files), unit="files") as ticker:
        for file in files:
            name = str(file.relative_to(config.source))
            try:
                with refusals(file):
                    dataset = read_whole(file, config.limits.limits)
                    refuse_text(dataset)
                    doubt = DOUBT if may_show_text(dataset) else None
                    doubt = found_text(dataset, config.limits.limits) or doubt
                    keep = config.keep_characteristics
                    dataset = deidentify(dataset, key, keep_characteristics=keep)
                    place, buffer = _place(config.out, dataset), io.BytesIO()
                    with step("it cannot be written again as it is encoded"):
                        dcmwrite(buffer, dataset, enforce_file_format=True)
                if not place.exists():
                    with replacing(place) as temporary:
                        temporary.write_bytes(buffer.getvalue())
                written += 1
                if doubt is not None:
                    doubtful.append(SetAside(str(place.relative_to(config.out)), doubt))
            except UnreadableError as error:
                reason = str(error).removeprefix(f"{file.name}: ")
                set_aside.append(SetAside(name, reason))
            ticker.advance()
    listed = config.out.with_name(f"{config.out.name}.set_aside.csv")
    write_set_aside(listed, set_aside)
    console.print(
        f"{written} images without identity in {config.out}; the key: {_key_file(config)}"
    )
    if doubtful:
        looked = config.out.with_name(f"{config.out.name}.look_at.csv")
        write_set_aside(looked, doubtful)
        console.print(
            f"{len(doubtful)} of them may show text in their pixels: look at those that {looked} "
            "lists before you give them away",
            style="yellow",
        )
    if set_aside:
        console.print(f"{len(set_aside)} files set aside, listed in {listed}", style="yellow")
    if not written:
        raise InputError(f"none of the {len(files)} files in {config.source} could be written")
    return 1 if set_aside else 0


def _key_file(config: DeidentifyConfig) -> Path:
    return config.key or config.out.with_name(f"{config.out.name}.key")


def _key(config: DeidentifyConfig) -> bytes:
    from radlearn.records.keys import new_key, read_key

    file = _key_file(config)
    if config.key is None and not file.exists():
        return new_key(file)
    return read_key(file)


def _place(out: Path, dataset: object) -> Path:
    """Where an image goes: named by codes alone."""
    parts = [
        str(getattr(dataset, name, "") or "none")
        for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    ]
    return out.joinpath(*parts[:-1], f"{parts[-1]}.dcm")
