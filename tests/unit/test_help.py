"""Help pages open at once: none of them loads what trains, reads images or draws."""

import subprocess
import sys

HEAVY = (
    *("accelerate", "fsspec", "highdicom", "matplotlib", "monai", "nibabel", "onnx", "peft"),
    *("polars", "pydicom", "ray", "safetensors", "scipy", "SimpleITK", "skimage", "sklearn"),
    *("tensorboard", "timm", "tokenizers", "torch", "torchvision", "transformers"),
)
SCRIPT = """
import sys
from radlearn.cli import COMMANDS, main

assert main(["--help"]) == 0
for command in COMMANDS:
    assert main([*command.split(), "--help"]) == 0
    for module in sys.argv[1:]:
        assert module not in sys.modules, f"radlearn {command} --help loads {module}"
"""


def test_no_help_page_loads_what_its_command_works_with() -> None:
    given = [sys.executable, "-c", SCRIPT, *HEAVY]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
