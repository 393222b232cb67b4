"""MED-PEFT's fine-tuned files: LoRA stacked or fused beside the weights, merged into them or not.

loralib's layers add their update to the weight when a model is put into evaluation mode, and a
state dict saved then holds the sum *and* the two factors. Nothing in such a file says so: the
weights that training started from do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from radlearn.adapters.peft import fused_b, stacked_b
from radlearn.errors import InputError

LAYER = ".attn.qkv."
NEAR = 1e-5
"""Of the largest weight: what adding and rounding may change."""


@dataclass(frozen=True)
class LoRA:
    """Low-rank updates of query and value.

    Attributes:
        tensors: `blocks.0.attn.qkv.lora_A` (2r, in), the query's rows first, and `lora_B`
            (2 out, r), the query's rows first: MED-PEFT's names, which are ours.
        rank: of query and of value each.
        fused: whether the file held one LoRA of rank 2r on query, key and value, as PEFT's do.
    """

    tensors: dict[str, Tensor]
    rank: int
    fused: bool

    def updates(self, scale: float) -> dict[str, Tensor]:
        """What is to be added to each fused weight, by the weight's name."""
        return {
            name.replace("lora_B", "weight"): scale
            * (fused_b(B.float()) @ self.tensors[name.replace("lora_B", "lora_A")].float())
            for name, B in self.tensors.items()
            if name.endswith("lora_B")
        }


def split_lora(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], LoRA | None]:
    """The weights without LoRA, and the LoRA if there is one.

    Raises:
        InputError: its factors do not belong together.
    """
    rest = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name}
    if len(rest) == len(tensors):
        return rest, None
    found = {_plain(name): tensors[name] for name in tensors.keys() - rest.keys()}
    ranks, fused = set(), set()
    stacked = {}
    for name in sorted(found):
        layer, _, factor = name.rpartition(".")
        A, B = (found.get(f"{layer}.lora_{letter}") for letter in "AB")
        weight = rest.get(f"{layer}.weight")
        if factor not in ("lora_A", "lora_B") or not f"{layer}.".endswith(LAYER):
            raise InputError(
                f"its {name} is no LoRA on a fused query-key-value layer; load it with peft"
            )
        if A is None or B is None or A.ndim != 2 or B.ndim != 2 or len(A) % 2 or not len(A):
            raise InputError(f"its {layer} has not both of lora_A (2r, in) and lora_B (2 out, r)")
        if factor == "lora_A":
            continue
        rank, width = len(A) // 2, A.shape[1]
        rows = 3 * width if B.shape[1] == 2 * rank else 2 * width
        if B.shape not in ((2 * width, rank), (3 * width, 2 * rank)) or (
            weight is not None and weight.shape != (3 * width, width)
        ):
            raise InputError(
                f"its {layer} has lora_A {tuple(A.shape)} and lora_B {tuple(B.shape)}, which is "
                f"no LoRA of query and value of rank {rank}: lora_B should be {(rows, rank)}"
            )
        ranks.add(rank)
        fused.add(B.shape[1] == 2 * rank)
        stacked[f"{layer}.lora_A"] = A
        stacked[f"{layer}.lora_B"] = stacked_b(B) if B.shape[1] == 2 * rank else B
    if len(ranks) != 1 or len(fused) != 1:
        raise InputError(f"its layers have LoRAs of ranks {sorted(ranks)}; one rank is taken")
    return rest, LoRA(stacked, ranks.pop(), fused.pop())


def is_merged(
    vit: Mapping[str, Tensor], lora: LoRA, scale: float, base: Mapping[str, Tensor]
) -> bool:
    """Whether the update is in the weights already, told by those that training started from.

    Raises:
        InputError: the weights are neither the base's nor the base's with the update added.
    """
    answers = set()
    for name, update in lora.updates(scale).items():
        start = base.get(name)
        if start is None or start.shape != vit[name].shape:
            raise InputError(f"the base has no {name} of the file's shape; give its own backbone")
        near = NEAR * float(start.abs().max())
        plain, summed = (
            bool((vit[name].float() - other).abs().max() <= near)
            for other in (start.float(), start.float() + update)
        )
        if not plain and not summed:
            raise InputError(
                f"its {name} is neither the base's nor that with the update of this alpha added; "
                "give the backbone that it was trained from, and the alpha of its training"
            )
        if plain != summed:
            answers.add(summed)
    if len(answers) > 1:
        raise InputError("its update is merged into some layers and not into others; get it again")
    return answers == {True}


def without_update(
    vit: Mapping[str, Tensor], lora: LoRA, scale: float, base: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """The weights before the merge: the base's own where they are known, else the difference."""
    if base is not None:
        return {k: base[k] if k.endswith(f"{LAYER}weight") else v for k, v in vit.items()}
    updates = lora.updates(scale)
    return {k: (v.float() - updates[k]) if k in updates else v for k, v in vit.items()}


def _plain(name: str) -> str:
    """PEFT's name of a factor as MED-PEFT has it."""
    name = name.removeprefix("base_model.model.").replace(".default", "")
    return name.removesuffix(".weight")
