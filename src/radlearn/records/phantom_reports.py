"""What a radiologist dictates about a phantom: varied words, hedges, negations, comparisons."""

from collections.abc import Sequence

import numpy as np

from radlearn.records.phantom_patients import Finding, Lesion

# {side} left/right, {size} an adjective, {zone} upper/middle/lower, {lobe}, {mm} millimetres.
PRESENT: dict[Finding, tuple[str, ...]] = {
    Finding.CARDIOMEGALY: (
        "The heart is {size} enlarged.",
        "{Size} cardiomegaly.",
        "The cardiac silhouette is {size} enlarged.",
        "Heart size is above the normal limit, with a cardiothoracic ratio of about {ratio}.",
        "Enlargement of the cardiac silhouette, {size} in degree.",
        "The cardiomediastinal silhouette is widened by an enlarged heart.",
    ),
    Finding.CONSOLIDATION: (
        "There is {size} consolidation in the {lobe}.",
        "{Size} airspace opacity in the {lobe}, in keeping with pneumonia.",
        "Patchy opacity projects over the {side} {zone} zone.",
        "{Size} infiltrate in the {side} {zone} lung.",
        "Ill-defined opacification of the {lobe}, most consistent with pneumonia.",
        "Increased density in the {side} {zone} zone suggests an infectious process.",
        "{Lobe} pneumonia.",
    ),
    Finding.EFFUSION: (
        "There is a {size} {side} pleural effusion.",
        "{Size} {side} effusion.",
        "Blunting of the {side} costophrenic angle, compatible with a {size} effusion.",
        "Pleural fluid on the {side}, {size} in amount.",
        "The {side} costophrenic sulcus is obscured by {size} pleural fluid.",
        "{Size} {side}-sided pleural effusion with a meniscus along the lateral chest wall.",
    ),
    Finding.NODULE: (
        "A {mm} mm nodule projects over the {side} {zone} zone.",
        "{Size} nodular opacity in the {lobe}, about {mm} mm.",
        "There is a {size} pulmonary nodule in the {side} {zone} lung.",
        "Well circumscribed {mm} mm density in the {lobe}.",
        "Solitary-appearing nodular opacity, {side} {zone} zone, {mm} mm in diameter.",
        "{Lobe} nodule measuring {mm} mm.",
    ),
    Finding.PNEUMOTHORAX: (
        "There is a {size} {side} pneumothorax.",
        "{Size} {side} apical pneumothorax.",
        "A thin pleural line is seen at the {side} apex without lung markings beyond it.",
        "{Side} pneumothorax, {size}, with partial collapse of the lung.",
        "Apical lucency on the {side} with a visible visceral pleural edge, {size} pneumothorax.",
    ),
}

ABSENT: dict[Finding, tuple[str, ...]] = {
    Finding.CARDIOMEGALY: (
        "Heart size is normal.",
        "The cardiac silhouette is within normal limits.",
        "No cardiomegaly.",
        "Normal heart size and mediastinal contours.",
        "The heart is not enlarged.",
    ),
    Finding.CONSOLIDATION: (
        "No focal consolidation.",
        "The lungs are clear without infiltrate.",
        "No airspace disease.",
        "There is no evidence of pneumonia.",
        "No focal opacity is seen.",
    ),
    Finding.EFFUSION: (
        "No pleural effusion.",
        "The costophrenic angles are sharp.",
        "No effusion.",
        "There is no pleural fluid.",
        "Costophrenic sulci are clear.",
    ),
    Finding.NODULE: (
        "No suspicious nodule.",
        "No pulmonary nodule or mass.",
        "There are no nodules.",
    ),
    Finding.PNEUMOTHORAX: (
        "No pneumothorax.",
        "There is no evidence of pneumothorax.",
        "No pneumothorax is identified.",
    ),
}

BOTH = ("Bilateral pleural effusions, {size} on the {side}.", "{Size} bilateral effusions.")

HEDGED: dict[Finding, tuple[str, ...]] = {
    Finding.CARDIOMEGALY: (
        "Borderline heart size.",
        "Heart size is difficult to assess and may be enlarged.",
    ),
    Finding.CONSOLIDATION: (
        "Subtle opacity at the {side} base may represent atelectasis or early pneumonia.",
        "Possible consolidation in the {lobe}; correlate clinically.",
    ),
    Finding.EFFUSION: (
        "A trace {side} effusion cannot be excluded.",
        "Questionable blunting of the {side} costophrenic angle.",
    ),
    Finding.NODULE: (
        "Possible nodule in the {side} {zone} zone, which may be a vessel seen end on.",
        "Questionable nodular density in the {lobe}; CT is suggested.",
    ),
    Finding.PNEUMOTHORAX: (
        "A tiny {side} apical pneumothorax cannot be excluded.",
        "Possible {side} pneumothorax versus skin fold.",
    ),
}

SIZES = (
    ("tiny", "trace", "minimal", "very small"),
    ("small", "mild", "slight"),
    ("moderate", "moderate-sized", "medium"),
    ("large", "extensive", "marked"),
)
NODULE_SIZES = (("tiny", "small"), ("small",), ("medium-sized",), ("large", "dominant"))
DEGREES = (("mildly", "slightly"), ("mildly",), ("moderately",), ("markedly", "severely"))

INDICATIONS = (
    "Cough and fever.",
    "Shortness of breath.",
    "Chest pain.",
    "Pre-operative assessment.",
    "Follow-up.",
    "Evaluate for pneumonia.",
    "Dyspnoea on exertion.",
)
BYSTANDERS = (
    "The osseous structures are unremarkable.",
    "Degenerative changes of the thoracic spine.",
    "Mediastinal contours are unremarkable.",
    "The hila are normal.",
    "No acute bony abnormality.",
    "The aorta is tortuous.",
    "Lung volumes are low.",
    "The trachea is midline.",
)
NORMAL = (
    "No acute cardiopulmonary abnormality.",
    "Normal chest radiograph.",
    "No acute disease.",
    "Clear lungs.",
    "Unremarkable study.",
)
TYPO_CHANCE = 0.04


def dictate(
    lesions: Sequence[Lesion],
    before: Sequence[Lesion] | None,
    age: float,
    sex: str,
    projection: str,
    rng: np.random.Generator,
) -> tuple[str, frozenset[Finding]]:
    """A report, and the findings that it leaves uncertain.

    Args:
        lesions: what the image shows.
        before: what the patient's previous image showed, None for a first image.
        age: years.
        sex: "F" or "M".
        projection: "PA" or "AP".
        rng: of the words; findings that are faint are more often hedged.
    """
    present = {lesion.finding: lesion for lesion in reversed(lesions)}
    uncertain: set[Finding] = set()
    positive: list[str] = []
    negative: list[str] = []
    for finding in Finding:
        lesion = present.get(finding)
        if lesion is not None:
            faint = lesion.strength < 0.3 and lesion.extent < 0.6
            if rng.random() < (0.4 if faint else 0.04):
                uncertain.add(finding)
                positive.append(_filled(_pick(HEDGED[finding], rng), lesion, rng))
            else:
                positive.append(_described(finding, lesions, rng))
        elif rng.random() < 0.03:
            uncertain.add(finding)
            positive.append(_filled(_pick(HEDGED[finding], rng), _imagined(finding, rng), rng))
        elif rng.random() < (0.3 if finding is Finding.NODULE else 0.75):
            negative.append(_pick(ABSENT[finding], rng))
    text = _assembled(
        positive, negative, _compared(lesions, before, rng), age, sex, projection, rng
    )
    return (_with_typo(text, rng) if rng.random() < TYPO_CHANCE else text), frozenset(uncertain)


def _assembled(
    positive: list[str],
    negative: list[str],
    comparison: list[str],
    age: float,
    sex: str,
    projection: str,
    rng: np.random.Generator,
) -> str:
    bystanders = [s for s in BYSTANDERS if rng.random() < 0.1]
    body = positive + negative + bystanders
    rng.shuffle(body)
    impression = [s for s in positive if rng.random() < 0.7] or [
        _pick(NORMAL, rng) if not positive else "As above."
    ]
    noun = "woman" if sex == "F" else "man"
    style = rng.random()
    if style < 0.45:
        indication = f"{age:.0f} year old {noun}. {_pick(INDICATIONS, rng)}"
        parts = [f"INDICATION: {indication}" if rng.random() < 0.6 else ""]
        parts += [f"FINDINGS: {projection} view of the chest.", *comparison, *body]
        parts += ["IMPRESSION:", *impression]
    elif style < 0.85:
        parts = [*comparison, *(body or impression)]
    else:
        parts = [*positive, *comparison] if positive else [_pick(NORMAL, rng), *comparison]
    return " ".join(part for part in parts if part)


def _described(finding: Finding, lesions: Sequence[Lesion], rng: np.random.Generator) -> str:
    """One sentence a lesion, or one for both sides."""
    same = [lesion for lesion in lesions if lesion.finding is finding]
    if finding is Finding.EFFUSION and len({lesion.side for lesion in same}) == 2:
        larger = max(same, key=lambda lesion: lesion.extent)
        return _filled(_pick(BOTH, rng), larger, rng)
    return " ".join(_filled(_pick(PRESENT[finding], rng), lesion, rng) for lesion in same)


def _compared(
    lesions: Sequence[Lesion], before: Sequence[Lesion] | None, rng: np.random.Generator
) -> list[str]:
    """What changed since the previous image, sometimes said and sometimes not."""
    if before is None or rng.random() < 0.35:
        return []
    now = {lesion.finding: lesion.extent for lesion in reversed(lesions)}
    then = {lesion.finding: lesion.extent for lesion in reversed(before)}
    sentences = []
    for finding in Finding:
        name = finding.value.lower()
        if finding in now and finding in then:
            change = now[finding] - then[finding]
            word = "larger" if change > 0.12 else "smaller" if change < -0.12 else "unchanged"
            sentences.append(f"Compared with the prior study the {name} is {word}.")
        elif finding in now:
            sentences.append(f"The {name} is new since the prior examination.")
        elif finding in then:
            sentences.append(f"The previously seen {name} has resolved.")
    return sentences or ["No change from the prior radiograph."]


def _imagined(finding: Finding, rng: np.random.Generator) -> Lesion:
    """Where a radiologist suspects what is not there."""
    side = "left" if rng.random() < 0.5 else "right"
    return Lesion(finding, side, "lower" if rng.random() < 0.6 else "upper", 0.1, 0.1)


def _filled(sentence: str, lesion: Lesion, rng: np.random.Generator) -> str:
    level = min(int(lesion.extent * 4), 3)
    heart = lesion.finding is Finding.CARDIOMEGALY and "{size} enlarged" in sentence
    nodule = lesion.finding is Finding.NODULE
    sizes = DEGREES if heart else NODULE_SIZES if nodule else SIZES
    zone = lesion.zone or "lower"
    if lesion.side == "left" and zone == "middle":
        lobe = "lingula"
    else:
        lobe = f"{lesion.side} {zone} lobe" if rng.random() < 0.8 else _short(lesion.side, zone)
    words = {
        "side": lesion.side,
        "size": _pick(sizes[level], rng),
        "zone": "mid" if zone == "middle" and rng.random() < 0.5 else zone,
        "lobe": lobe,
        "mm": f"{12 + 26 * lesion.extent:.0f}",
        "ratio": f"{0.53 + 0.10 * lesion.extent:.2f}",
    }
    words |= {key.capitalize(): word[:1].upper() + word[1:] for key, word in words.items()}
    return sentence.format_map(words)


def _short(side: str, zone: str) -> str:
    return f"{side[:1]}{zone[:1]}l".upper()


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _with_typo(text: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters change places, once."""
    at = int(rng.integers(1, len(text) - 2))
    if text[at : at + 2].isalpha():
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text
