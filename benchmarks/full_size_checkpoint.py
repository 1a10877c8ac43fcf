"""Converts, loads and runs a full-size checkpoint in the released format, made of random tensors.

    python benchmarks/full_size_checkpoint.py KEYS.json clip.mp4 [--json FILE]

KEYS.json lists the tensor names of the original file, as keys of one object per component. The file (about
4.6 GB in float16) and the folder converted from it are written to a temporary folder and removed. Each step
runs in a process of its own, so that its peak memory can be measured.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import actiondiff
from actiondiff.backbones.base import find_spec
from actiondiff.backbones.svd.modules import build_image_encoder, build_unet, build_vae_encoder
from actiondiff.checkpoints.keymap import KeyMap
from actiondiff.checkpoints.tensorfile import write_tensors
from actiondiff.provenance import environment

NOT_NEEDED: dict[str, tuple[int, ...]] = {
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
    "first_stage_model.decoder.conv_in.bias": (512,),
}


def shapes_of_original(keys: Path) -> dict[str, tuple[int, ...]]:
    """Name in the original file -> shape at full size."""
    architecture = find_spec("svd-xt").architecture
    ours = {
        "unet": build_unet(architecture["unet"]).state_dict(),
        "image_encoder": build_image_encoder(architecture["clip"]).state_dict(),
        "vae": build_vae_encoder(architecture["vae"]).state_dict(),
        "latent_encoder": build_vae_encoder(architecture["vae"], quant_conv=False).state_dict(),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for names in json.loads(keys.read_text("utf-8")).values():
        for name in names:
            targets = KeyMap.svd().match(name)
            assert targets, name
            shape = tuple(ours[targets[0].component][targets[0].name].shape)
            match targets[0].how:
                case "squeeze":
                    shape = (*shape, 1, 1)
                case "transpose":
                    shape = shape[::-1]
                case "split":
                    shape = (shape[0] * len(targets), *shape[1:])
            shapes[name] = shape
    return shapes | NOT_NEEDED


def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Random numbers of variance 1 / fan-in; norms 1, biases 0."""
    if len(shape) < 2:
        filled = torch.zeros if name.endswith(("bias", "mix_factor")) else torch.ones
        return filled(shape, dtype=torch.float16)
    fan_in = torch.Size(shape[1:]).numel()
    return (torch.randn(shape) / fan_in**0.5).half()


def step(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run one step in a process of its own; returns the figures that it prints, with its time."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--step", name, *arguments], check=True, capture_output=True, text=True
    )
    return {**json.loads(done.stdout), "seconds": round(time.perf_counter() - start, 1)}


def run_step(name: str, arguments: list[str]) -> None:
    """Run one step in this process, and print its figures as JSON."""
    figures: dict[str, Any] = {}
    if name == "write":
        keys, target = map(Path, arguments)
        shapes = shapes_of_original(keys)
        torch.manual_seed(0)
        drawn = (draw(key, shape) for key, shape in shapes.items())
        write_tensors(target, shapes, drawn, dtype=torch.float16, metadata={})
        figures = {"tensors": len(shapes), "gigabytes": target.stat().st_size / 1e9}
    elif name == "convert":
        report = actiondiff.convert_weights(arguments[0], arguments[1])
        figures = {"used": report.num_used, "unknown": len(report.unknown), "one_vae": report.one_vae}
    else:
        weights, video = arguments
        backbone = actiondiff.load_backbone(
            "svd-xt", weights=weights, height=128, width=192, window=8, device="cpu", dtype="float32"
        )
        tokens = backbone.extract(actiondiff.read_video(video)[:8])[20, 9]
        figures = {
            "identity": str(backbone.settings["weights"])[:16],
            "shape": list(tokens.shape),
            "finite": bool(torch.from_numpy(tokens).isfinite().all()),
            "sum": float(tokens.astype("float64").sum()),
        }
    figures["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    parser.add_argument("arguments", nargs="*", metavar="KEYS.json clip.mp4")
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.arguments)
        return
    keys, video = options.arguments
    with tempfile.TemporaryDirectory() as folder:
        file, converted = f"{folder}/svd_xt.safetensors", f"{folder}/svd-xt"
        figures = {"write": step("write", [keys, file]), "convert": step("convert", [file, converted])}
        figures["features from the file"] = step("features", [file, video])
        figures["features from the folder"] = step("features", [converted, video])
    figures["environment"] = environment()
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
