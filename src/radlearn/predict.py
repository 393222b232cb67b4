"""`radlearn predict`: new files in, what a finished run makes of them out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from radlearn.engine.folder import finished_run
from radlearn.engine.names import DeviceName, PrecisionName
from radlearn.errors import InputError
from radlearn.records.limits import LimitFlags


@dataclass(frozen=True)
class PredictConfig:
    """What a finished run makes of new files.

    A fine-tuning run answers for pictures (DICOM, PNG, JPEG, TIFF, NIfTI): a table of
    probabilities; one of segmentation a mask for each, in the picture's own grid and geometry. A
    translation run makes each exam's target image from its source image (NIfTI, a DICOM series,
    PNG, .npy): the same geometry and header, in the source's own space. DICOM is written as a new
    series of the same study: the patient's tags stay, as in the exam beside it.

    Example: radlearn predict runs/lora new_exams/ chest.dcm --out answers.csv --saliency maps
    Example: radlearn predict runs/lora new_exams/ --adapters runs/age runs/view
    Example: radlearn predict runs/lungs chests/ --out masks --masks nifti
    Example: radlearn predict runs/t1-to-t2 exams/ --out made
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A finished fine-tuning or translation run."""
    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files, and folders that are searched; for translation exams (folders with a file or a
    series by each source's name), series, or files."""
    out: Path | None = None
    """Fine-tuning: the table, .csv or .parquet [predictions.csv]; segmentation and translation:
    a folder [predictions]."""
    masks: Literal["png", "nifti", "dicom-seg"] | None = None
    """Segmentation: what the masks are written as [png]; dicom-seg refers to DICOM inputs."""
    saliency: Path | None = None
    """Fine-tuning: folder for pictures of what spoke for each picture's likeliest label."""
    adapters: tuple[Path, ...] = ()
    """Fine-tuning: further runs on the same backbone, which is held once; all answer."""
    which: Path | None = None
    """With --adapters: table of file and run, where each picture is one run's alone."""
    batch: int | None = None
    """Pictures [64] (halved where memory runs out) or slices [8] at a time."""
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    """Of fine-tuned models; translations are made in float32."""
    limits: Annotated[LimitFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=LimitFlags)

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError("no file or folder was given to predict")
        if self.batch is not None and self.batch < 1:
            raise InputError("--batch must be above 0")
        if self.which is not None and not self.adapters:
            raise InputError("--which chooses among several runs; name the others by --adapters")
        if self.saliency is not None and self.adapters:
            raise InputError("--saliency is for one run; leave out --adapters")


def predict(config: PredictConfig) -> int:
    """Write what the run makes of the inputs.

    Returns:
        0 when every input was answered for, 1 when some could not be read; these are named.

    Raises:
        InputError: the run is not finished or cannot predict, a flag does not fit its mission, an
            input is missing, or none could be read.
    """
    from radlearn.engine.device import compute

    run = finished_run(config.run)
    mission = run.get("mission")
    limits = config.limits.limits
    if config.adapters and (mission != "finetuning" or run.get("task") == "segmentation"):
        raise InputError("--adapters is for fine-tuning runs that give labels, classes or numbers")
    if mission == "finetuning" and run.get("task") == "segmentation":
        from radlearn.finetuning.segmentation_predict import predict_masks

        if config.saliency is not None:
            raise InputError("--saliency is for labels; leave it out for a segmentation")
        folder = config.out or Path("predictions")
        here = compute(config.device, config.precision)
        kind, batch = config.masks or "png", config.batch or 16
        return predict_masks(config.run, config.inputs, folder, kind, batch, here, limits)
    if config.masks is not None:
        raise InputError("--masks is for runs of segmentation; leave it out for others")
    if mission == "finetuning":
        from radlearn.finetuning.predict import predict_labels

        table = config.out or Path("predictions.csv")
        if table.suffix not in (".csv", ".parquet"):
            raise InputError(f"--out {table} ends neither in .csv nor in .parquet")
        here = compute(config.device, config.precision)
        batch = config.batch or 64
        if config.adapters:
            from radlearn.finetuning.predict_several import predict_several

            runs = (config.run, *config.adapters)
            return predict_several(runs, config.inputs, table, config.which, batch, here, limits)
        return predict_labels(
            config.run, config.inputs, table, config.saliency, batch, here, limits
        )
    if mission == "translation":
        from radlearn.translation.predict import predict_volumes

        if config.saliency is not None:
            raise InputError("--saliency is for fine-tuning runs; leave it out for a translation")
        folder = config.out or Path("predictions")
        here = compute(config.device, config.precision)
        return predict_volumes(config.run, config.inputs, folder, config.batch or 8, here, limits)
    raise InputError(
        f"{config.run} is a run of {mission}, which has nothing to predict; give a fine-tuning or "
        "translation run"
    )
