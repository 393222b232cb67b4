"""OpenI: the archive of XML reports, one of them an entity bomb, and a folder of images."""

import io
import tarfile
from pathlib import Path

from radlearn.datasets.options import LayoutOptions

from .fakes import Fake, picture

BOMB = '<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><eCitation>&b;</eCitation>'


def report(number: int, findings: str, impression: str, images: tuple[str, ...] = ()) -> str:
    parents = "".join(f'<parentImage id="{image}"><panel/></parentImage>' for image in images)
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>'
        '<AbstractText Label="COMPARISON">None.</AbstractText>'
        f'<AbstractText Label="FINDINGS">{findings}</AbstractText>'
        f'<AbstractText Label="IMPRESSION">{impression}</AbstractText>'
        "</Abstract></Article></MedlineCitation>"
        "<MeSH><major>Calcified Granuloma/lung/upper lobe/right</major><major>normal</major></MeSH>"
        f"{parents}</eCitation>"
    )


def make(root: Path) -> Fake:
    one, two = "CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"
    members = {
        "1.xml": report(1, "Heart size\n normal.", "No  acute disease.", (one, two)),
        "2.xml": report(2, "", "XXXX opacity.", ("CXR2_IM-0652-1001",)),
        "3.xml": report(3, "", ""),
        "4.xml": BOMB,
        "5.xml": "<eCitation><uId",
        "6.xml": report(6, "Clear.", "", ("../../climbing",)),
    }
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "NLMCXR_reports.tgz", "w:gz") as archive:
        for name, text in {**members, "../../../evil.xml": "<eCitation/>"}.items():
            info = tarfile.TarInfo(f"ecgen-radiology/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    images = root.parent / "pictures"
    picture(images / f"{one}.png")
    picture(root.parent.parent / "climbing.png")
    mesh = {"mesh": "Calcified Granuloma/lung/upper lobe/right; normal"}
    return Fake(
        root,
        {
            one: {
                "patient": "CXR1",
                "report": "Heart size normal. No acute disease.",
                "extra": mesh,
            },
            "CXR2": {"patient": "CXR2", "report": "XXXX opacity.", "image": None},
            "CXR6": {"report": "Clear.", "image": None},
        },
        {
            f"{two}.png": "missing",
            "CXR2_IM-0652-1001.png": "missing",
            "ecgen-radiology/3.xml": "neither",
            "ecgen-radiology/4.xml": "XML",
            "ecgen-radiology/5.xml": "XML",
            "../../climbing.png": "leads out",
            "ecgen-radiology/../../../evil.xml": "neither",
        },
        LayoutOptions(images=images),
    )
