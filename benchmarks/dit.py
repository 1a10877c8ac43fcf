"""What video diffusion transformers cost at full size, counted on the meta device, without weights.

    python benchmarks/dit.py [--json FILE]

Prints one row per backbone: parameters that are read for its default layer (transformer + autoencoder),
TFLOP of a window up to that layer, of these the autoencoder, and TFLOP with all blocks, with the share that
the default layer costs of them, once for the whole window and once for the transformer alone.
"""

import argparse
import json
from pathlib import Path

from actiondiff.backbones.base import RANDOM, build_backbone, find_spec, make_options, resolve
from actiondiff.backbones.dit.backbone import VideoDiT
from actiondiff.backbones.engine.counting import count_window
from actiondiff.provenance import environment
from actiondiff.types import FeatureKey

NAMES = ("wan21", "ltx-video", "cogvideox-2b")


def cost(name: str) -> dict[str, float]:
    """Parameters and operations of one backbone's window."""
    spec = find_spec(RANDOM + name)
    options = resolve(spec, make_options(spec, device="cpu"))
    backbone = build_backbone(spec, options.on_meta())
    assert isinstance(backbone, VideoDiT)
    last = backbone.taps[-1]
    own, whole = (count_window(spec, options, [FeatureKey(spec.timestep, tap)]) for tap in (spec.layer, last))
    assert own is not None
    assert whole is not None
    transformer, autoencoder = backbone.num_parameters(spec.layer)
    return {
        "transformer_parameters": transformer,
        "autoencoder_parameters": autoencoder,
        "flop": own.flop,
        "flop_of_autoencoder": own.flop - own.flop_of_latents,
        "flop_of_all_blocks": whole.flop,
        "share": own.flop / whole.flop,
        "share_of_transformer": own.flop_of_latents / whole.flop_of_latents,
    }


def row(name: str, values: dict[str, float]) -> str:
    """One row of the table in docs/backbones.md."""
    return (
        f"| {name} | {values['transformer_parameters'] / 1e6:.0f} + "
        f"{values['autoencoder_parameters'] / 1e6:.0f} million | {values['flop'] / 1e12:.1f} | "
        f"{values['flop_of_autoencoder'] / 1e12:.1f} | {values['flop_of_all_blocks'] / 1e12:.1f} | "
        f"{values['share']:.2f} ({values['share_of_transformer']:.2f}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    arguments = parser.parse_args()
    costs = {name: cost(name) for name in NAMES}
    for name, values in costs.items():
        print(row(name, values))
    if arguments.json:
        result = {"costs": costs, "environment": environment()}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
