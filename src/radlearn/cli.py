"""The command line: from a command to its function and config, and nothing else."""

import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from radlearn import __version__
from radlearn.errors import InputError

MEMORY = (
    "memory ran out; a smaller --batch needs less (for training with another --run), and so do "
    "smaller images; what was saved is kept, and with more memory the same command goes on from it"
)


class Command(NamedTuple):
    """Where a command's config and function are; imported only when it is called."""

    summary: str
    config: str
    function: str


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "the whole story on phantoms, in minutes",
        "radlearn.grids.settings:DemoConfig",
        "radlearn.demo:demo",
    ),
    "prepare": Command(
        "radiographs, reports, labels and masks into a store",
        "radlearn.records.settings:PrepareConfig",
        "radlearn.records.prepare:run",
    ),
    "prepare mri-pairs": Command(
        "scans in pairs, of one kind and another, into a store",
        "radlearn.records.pair_settings:PairsConfig",
        "radlearn.records.prepare_pairs:run",
    ),
    "pretrain": Command(
        "a backbone from images and reports (MRM)",
        "radlearn.pretraining.config:PretrainConfig",
        "radlearn.pretraining.run:pretrain",
    ),
    "finetune": Command(
        "a backbone to a store's labels: full, linear, LoRA",
        "radlearn.finetuning.config:FinetuneConfig",
        "radlearn.finetuning.run:finetune",
    ),
    "misalignment": Command(
        "how far the pairs of a store are apart, and which mode suits",
        "radlearn.records.pair_settings:MisalignmentConfig",
        "radlearn.misalignment:misalignment",
    ),
    "translate": Command(
        "one kind of scan into another, from pairs that do not line up",
        "radlearn.translation.config:TranslateConfig",
        "radlearn.translation.run:translate",
    ),
    "register": Command(
        "a translation run's registration of a new pair",
        "radlearn.translation.config:RegisterConfig",
        "radlearn.translation.register:register",
    ),
    "evaluate": Command(
        "scores with intervals; two runs or more: their differences",
        "radlearn.evaluation.settings:EvaluateConfig",
        "radlearn.evaluate:evaluate",
    ),
    "plan-labels": Command(
        "what score more labels would give, from runs on fewer",
        "radlearn.evaluation.settings:PlanConfig",
        "radlearn.plan_labels:plan_labels",
    ),
    "predict": Command(
        "answers for new files: probabilities, or translated scans",
        "radlearn.predict:PredictConfig",
        "radlearn.predict:predict",
    ),
    "retrieve": Command(
        "the report of an image and the image of a report, by MRM",
        "radlearn.pretraining.retrieval_config:RetrieveConfig",
        "radlearn.pretraining.retrieval_run:retrieve",
    ),
    "import": Command(
        "a published file of weights: what it is, and a model of it",
        "radlearn.exchange.importing:ImportConfig",
        "radlearn.exchange.importing:import_weights",
    ),
    "export": Command(
        "a run for timm, PEFT, ONNX, or under the papers' own names",
        "radlearn.exchange.exporting:ExportConfig",
        "radlearn.exchange.exporting:export",
    ),
    "deidentify": Command(
        "DICOM images without who they are of",
        "radlearn.deidentify:DeidentifyConfig",
        "radlearn.deidentify:deidentify_folder",
    ),
    "check": Command(
        "whether runs and stores are still what they were",
        "radlearn.check:CheckConfig",
        "radlearn.check:check",
    ),
    "verify": Command(
        "a run's first steps again: the same numbers?",
        "radlearn.verify:VerifyConfig",
        "radlearn.verify:verify",
    ),
    "compare": Command(
        "a grid of runs from one recipe, and its table",
        "radlearn.grids.settings:CompareConfig",
        "radlearn.compare:compare",
    ),
    "bench": Command(
        "how fast this machine does each thing, and its limits",
        "radlearn.bench.config:BenchConfig",
        "radlearn.bench.run:bench",
    ),
    "bench scale": Command(
        "whether cost grows as it should, from 1,000 records to 100,000",
        "radlearn.bench.config:ScaleConfig",
        "radlearn.bench.scale:scale",
    ),
}


def load(place: str) -> Any:
    """What "module:name" names; imported now."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def call(command: str, arguments: Sequence[str]) -> int:
    """Carry out a command as the command line would; returns its exit status.

    Some commands are two words, the second of which is the first argument.

    Raises:
        InputError: the command could not be carried out.
    """
    import tyro

    if f"{command} {arguments[0] if arguments else ''}" in COMMANDS:
        command, arguments = f"{command} {arguments[0]}", arguments[1:]
    entry = COMMANDS[command]
    flags = load(entry.config)
    if "-h" in arguments or "--help" in arguments:
        from radlearn.usage import usage

        print(usage(command, flags), end="")
        return 0
    plain = (tyro.conf.FlagConversionOff,)  # a switch takes True or False, like any other value
    config = tyro.cli(flags, args=arguments, prog=f"radlearn {command}", config=plain)
    function: Callable[[Any], int | None] = load(entry.function)
    return function(config) or 0


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {COMMANDS[name].summary}" for name in COMMANDS)
    return (
        f"radlearn {__version__}: learn from medical images with few labels, loose reports "
        f"and pairs that do not line up\n\nusage: radlearn COMMAND ...\n\n{rows}\n\n"
        "radlearn COMMAND --help shows a command's settings and an example.\n"
    )


def _out_of_memory(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, MemoryError):
        return True
    from radlearn.models.inference import out_of_memory

    return out_of_memory(error)


def _stopped(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when all is well, 1 when some input was set aside beyond what was allowed, 2 when the
        command could not be carried out, 130 when it was stopped.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_overview(), end="")
        return 0
    if given[0] == "--version":
        print(__version__)
        return 0
    if given[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"radlearn: no command {given[0]!r}; there are {known}", file=sys.stderr)
        return 2
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        return call(given[0], given[1:])
    except InputError as error:
        print(f"radlearn {given[0]}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"radlearn {given[0]}: {place}{error.strerror or error}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        print(f"radlearn {given[0]}: {MEMORY}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
