"""`inspect`: the parts of a checkpoint, and parameters and memory of selections of its layers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from layerprobe import wording

if TYPE_CHECKING:
    from layerprobe.backbone.selection import LayerSelection
    from layerprobe.backbone.weigh import Weights


def inspect_command(known: argparse.Namespace, _rest: list[str]) -> int:
    """Prints family, layers, parameters per part and a line per selection. Checks names of weights, reads none."""
    from layerprobe.training.log import quiet_libraries

    quiet_libraries()
    from layerprobe.backbone.selection import parse_selection
    from layerprobe.backbone.weigh import weigh_checkpoint

    weights = weigh_checkpoint(known.checkpoint, known.revision)
    texts = known.selection or usual_selections(weights.n_layers)
    selections = [parse_selection(text, weights.n_layers) for text in texts]
    print("\n".join(part_lines(weights) + selection_lines(weights, selections)))
    return 0


def usual_selections(n_layers: int) -> list[str]:
    """Returns the default selections: the full model, halves of its depth, and evenly spaced layers."""
    depths = sorted({n_layers, n_layers // 2, n_layers // 4, n_layers // 8} - {0}, reverse=True)
    spaced = ["every:2"] if n_layers >= 2 else []
    return [f"first:{depth}" for depth in depths] + spaced + [f"uniform:{n_layers // 2}"] * (n_layers >= 4)


def part_lines(weights: Weights) -> list[str]:
    """Returns lines with family, layers, width and parameters of the checkpoint."""
    parts = {name: count for name, count in weights.parts.items() if count}
    per_layer = sorted(set(weights.per_layer))
    layer_sizes = f"{per_layer[0]:,} each" if len(per_layer) == 1 else f"{per_layer[0]:,} to {per_layer[-1]:,} each"
    return [
        f"family      {weights.family} ({'causal' if weights.causal else 'sees later items: supervision last only'})",
        f"layers      {weights.n_layers}, {layer_sizes}" if weights.per_layer else "layers      0",
        f"width       {weights.width}, up to {weights.max_positions:,} positions",
        f"parameters  {weights.total:,}",
        *(f"  {name:<28}{count:>16,}" for name, count in parts.items()),
    ]


def selection_lines(weights: Weights, selections: list[LayerSelection]) -> list[str]:
    """Returns one line per selection: kept layers, parameters, and memory of the weights and of training them."""
    width = max([14, *(len(selection.text) + 2 for selection in selections)])
    columns = f"{'layers':>7}{'parameters':>16}{'share':>8}{'float32':>11}{'bfloat16':>11}{'training':>11}"
    rows = []
    for selection in selections:
        count = weights.kept(selection)
        sizes = [4 * count, 2 * count, weights.training_bytes(selection)]
        rows.append(
            f"{selection.text:<{width}}{selection.depth:>7}{count:>16,}{count / weights.total:>8.1%}"
            + "".join(f"{wording.size(size):>11}" for size in sizes)
            + f"  {wording.layers(selection.layers)}"
        )
    foot = (
        "training: float32 weights, gradients and AdamW moments with tuning.method full (token embeddings are frozen), "
        "without activations"
    )
    return ["", f"{'selection':<{width}}{columns}", *rows, "", foot]
