"""OpenI, the Indiana University collection (Demner-Fushman et al., JAMIA 2016): XML reports."""

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import located, one_of, walk
from radlearn.errors import InputError
from radlearn.records.record import SetAside, Source, SourceRecord
from radlearn.records.reports import clean_report

REPORT_LIMIT = 1 << 20  # bytes of one XML file; the published ones have under 10 KiB
ARCHIVE_LIMIT = 2 << 30  # bytes unpacked; the published archive has 20 MiB
NAME_LIMIT = 1 << 16  # bytes of a member's name, which tarfile reads whole
LONG_NAMES: tuple[bytes, ...] = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
LONG_NAMES += (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
HOLDING = "NLMCXR_reports.tgz or its unpacked XML files"
IMAGE_FOLDERS = ("", "images", "NLMCXR_png", "png")


def records(source: Path, options: LayoutOptions) -> Source:
    """FINDINGS and IMPRESSION of each report, one record an image where its images are here.

    Args:
        source: the folder of NLMCXR_reports.tgz or of XML files, or the archive itself.

    Images are named as the XML names them (CXR3029_IM-1404-1001.png), in `options.images` or in
    the source; a report none of whose images is here is a record of its own. The extra column
    `mesh` holds the indexers' terms. Which image is lateral is not published.

    Raises:
        InputError: neither an archive nor XML files, or the archive is damaged.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; openi looks for {HOLDING}")
    set_aside: list[SetAside] = []
    root = source if source.is_dir() else source.parent
    if source.is_dir() and any(p.suffix == ".xml" for p in walk(source, [])):
        files = _unpacked(source, set_aside)
    elif source.is_dir():
        files = _archived(one_of(source, ["*reports*.tgz", "*.tgz", "*.tar*"], "openi", HOLDING))
    else:
        files = _archived(source)
    return Source(
        name="OpenI Indiana University chest X-rays",
        label_names=(),
        licence="CC BY-NC-ND 4.0",
        terms="Non-commercial use naming the source (NLM Open-i; Demner-Fushman et al., JAMIA "
        "2016); changed versions of the data may not be shared.",
        records=_records(root, files, options, set_aside),
        set_aside=set_aside,
    )


def _unpacked(root: Path, set_aside: list[SetAside]) -> Iterator[tuple[str, bytes | None]]:
    for path in walk(root, set_aside):
        if path.suffix == ".xml":
            try:
                with path.open("rb") as file:
                    content = file.read(REPORT_LIMIT + 1)
            except OSError as error:
                set_aside.append(
                    SetAside(str(path.relative_to(root)), f"cannot be read: {error.strerror}")
                )
                continue
            yield str(path.relative_to(root)), content if len(content) <= REPORT_LIMIT else None


class _Member(tarfile.TarInfo):
    """An entry of an archive, refused before a name of gigabytes is read into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in LONG_NAMES and member.size > NAME_LIMIT:
            raise tarfile.ReadError(f"a name of {member.size} bytes")
        return member


def _archived(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """The XML members, read in passing: nothing is unpacked to disk, so no name can climb."""
    unpacked = 0
    try:
        with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
            for member in archive:
                unpacked += member.size
                if unpacked > ARCHIVE_LIMIT:
                    raise InputError(f"{path} unpacks to more than {ARCHIVE_LIMIT >> 30} GiB")
                if member.isfile() and member.name.endswith(".xml"):
                    file = archive.extractfile(member) if member.size <= REPORT_LIMIT else None
                    yield member.name, file.read() if file else None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{path} is damaged or no archive ({error}); openi looks for {HOLDING}"
        ) from error


def _records(
    root: Path,
    files: Iterator[tuple[str, bytes | None]],
    options: LayoutOptions,
    set_aside: list[SetAside],
) -> Iterator[SourceRecord]:
    base = options.images or root
    roots = [base / name for name in IMAGE_FOLDERS]
    with_images = any(next(folder.glob("CXR*.png"), None) for folder in roots)
    met: set[str] = set()
    for name, content in files:
        if content is None:
            set_aside.append(SetAside(name, f"more than {REPORT_LIMIT} bytes: not a report"))
            continue
        try:
            tree = fromstring(content, forbid_dtd=True)
        except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
            set_aside.append(SetAside(name, f"not readable as XML: {type(error).__name__}"))
            continue
        uid = tree.find("uId")
        patient = uid.get("id", "") if uid is not None else ""
        patient = patient or f"CXR{Path(name).stem}"
        if patient in met:
            set_aside.append(SetAside(name, f"a second report named {patient}"))
            continue
        met.add(patient)
        report = _report(tree) or None
        mesh = "; ".join(term.text.strip() for term in tree.iter("major") if term.text)
        extra = {"mesh": mesh} if mesh else {}
        found = 0
        for image in tree.iter("parentImage") if with_images else ():
            image_id = image.get("id", "")
            path = located(roots, [f"{image_id}.png"], set_aside, f"{image_id}.png")
            if path is not None:
                found += 1
                yield SourceRecord(image_id, patient, path, report, extra=extra)
        if report is None and not found:
            set_aside.append(SetAside(name, "neither findings nor impression"))
        elif not found:
            yield SourceRecord(patient, patient, None, report, extra=extra)


def _report(tree: Any) -> str:
    sections = {
        s.get("Label", "").upper(): "".join(s.itertext()) for s in tree.iter("AbstractText")
    }
    parts = (clean_report(sections.get(name, "")) for name in ("FINDINGS", "IMPRESSION"))
    return " ".join(part for part in parts if part)
