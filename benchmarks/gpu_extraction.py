"""Our feature extraction against the released code's on a GPU at full size: time, memory, agreement.

    python benchmarks/gpu_extraction.py [PIECE ...] --json FILE

The full-size SVD-XT architecture with random weights processes one window of 25 frames at 576 x 1024. The
work is divided into pieces of a few minutes each, most of which goes into drawing the weights. FILE is
written after each piece, and pieces that it already holds are skipped unless `--again` is given. Without
PIECE all missing pieces are run. The features of every piece are stored beside FILE, so that pieces of
different runs can be compared. A piece that needs more memory than there is, is recorded as skipped; one that
fails in another way is named at the end, where the exit code is 1, and leaves the others undisturbed.

    ceiling               rate of large matrix products by dtype, to which the other rates are compared
    released-default      the released path with PyTorch's TF32 defaults (in convolutions, not in products)
    released-no-tf32      the released path without TF32
    ours-default          our path as it comes; ours-unfused: without the fused kernels
    ours-...              our path, by the data types of U-Net and CLIP, and of the VAE
    profile-...           time of one pass by kind of operation

The released path runs U-Net and CLIP under float16 autocast and the VAE in float32, as the released code
does. Targets on an H200: at least 9 times as fast as released-default for one timestep and 20 times for the
grid, at least 45 % of the ceiling in U-Net and VAE, and less than 8 GB of memory.
"""

import argparse
import gc
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from extraction import machine, window_of
from gpu_results import Results, summarise, table
from released_path import (
    GRID_TIMESTEPS,
    LAYERS,
    ReleasedPath,
    SharedWeights,
    count_flop,
    measured,
    our_parts,
    our_path,
    prepared,
)
from torch import Tensor, nn

import actiondiff
from actiondiff.backbones.base import find_spec
from actiondiff.backbones.engine.precision import float32_mode
from actiondiff.errors import UsageError
from actiondiff.provenance import environment

FULL_SIZE = {"height": 576, "width": 1024, "frames": 25}
SMOKE_SIZE = {"height": 32, "width": 64, "frames": 3}


@dataclass(frozen=True)
class Piece:
    """A way to extract, or another measurement.

    Attributes:
        kind: `ceiling`, `released` or `ours`.
        options: Options of our backbone.
        tf32: Whether PyTorch's TF32 settings are left as they are.
        ceilings: Part -> name of the ceiling that its rate is compared to.
        profile: Whether one pass is profiled instead of timed.
        fused: Whether our networks may run fused.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    tf32: bool = True
    ceilings: dict[str, str] = field(default_factory=dict)
    profile: bool = False
    fused: bool = True


def _ours(
    dtype: str, vae: str, *, profile: bool = False, fused: bool = True, default: bool = False, **more: Any
) -> Piece:
    ceilings = {"CLIP": dtype, "U-Net": dtype, "VAE": vae}
    options = {} if default else {"dtype": dtype, "vae_dtype": vae, **more}
    return Piece("ours", options, ceilings=ceilings, profile=profile, fused=fused)


def _released(*, tf32: bool, profile: bool = False) -> Piece:
    ceilings = {"CLIP": "float16", "U-Net": "float16", "VAE": "tf32" if tf32 else "float32"}
    return Piece("released", tf32=tf32, ceilings=ceilings, profile=profile)


PIECES = {
    "ceiling": Piece("ceiling"),
    "ours-default": _ours("float16", "float16", default=True),
    "ours-unfused": _ours("float16", "float16", fused=False),
    "ours-float32": _ours("float32", "float32"),
    "ours-float16": _ours("float16", "float32"),
    "ours-float16-vae-tf32": _ours("float16", "tf32"),
    "ours-float16-vae-float16": _ours("float16", "float16"),
    "ours-bfloat16-vae-bfloat16": _ours("bfloat16", "bfloat16"),
    "ours-float16-vae-float16-compiled": _ours("float16", "float16", compile=True),
    "released-default": _released(tf32=True),
    "released-no-tf32": _released(tf32=False),
    "profile-default": _ours("float16", "float16", profile=True, default=True),
    "profile-ours": _ours("float16", "float16", profile=True),
    "profile-released": _released(tf32=True, profile=True),
}

SLOW = ("ours-float16-vae-float16-compiled",)  # takes minutes to compile, and is left out of smoke runs


class Extraction:
    """One way to extract, ready to run.

    Args:
        piece: The way to extract.
        weights: Weights of all networks.
        frames: Frames of the window.
        size: Height and width in pixels.
        device: Device to compute on.
    """

    def __init__(
        self,
        piece: Piece,
        weights: SharedWeights,
        frames: actiondiff.Frames,
        size: dict[str, int],
        device: str,
    ) -> None:
        self._frames, self._size, self._device = frames, size, device
        self._released = ReleasedPath(weights, device) if piece.kind == "released" else None
        if self._released is None:
            shape = {"height": size["height"], "width": size["width"], "window": size["frames"]}
            self._ours = our_path(weights, device=device, **shape, **piece.options)
            if not piece.fused:
                self._ours.inputs.vae.fused = self._ours.inputs.latent_vae.fused = False
                self._ours.encoder.fused = False

    def one(self) -> dict[str, Tensor]:
        """Extract timestep 20: layer 9, or all layers where that costs nothing."""
        if self._released is not None:
            return self._pass(20)
        return self._extract((20,), (9,))

    def grid(self) -> dict[str, Tensor]:
        """Extract 7 timesteps x 13 layers."""
        if self._released is not None:
            return {key: value for timestep in GRID_TIMESTEPS for key, value in self._pass(timestep).items()}
        return self._extract(GRID_TIMESTEPS, LAYERS)

    def _pass(self, timestep: int) -> dict[str, Tensor]:
        assert self._released is not None
        pixels = prepared(self._frames.pixels, self._size["height"], self._size["width"], self._device)
        tokens_by_key = self._released.features(pixels, timestep)
        return {str(key): tokens.cpu() for key, tokens in tokens_by_key.items()}

    def _extract(self, timesteps: tuple[int, ...], layers: tuple[int, ...]) -> dict[str, Tensor]:
        features = self._ours.extract(self._frames, timesteps=timesteps, layers=layers)
        return {str(key): torch.from_numpy(tokens) for key, tokens in features.tokens.items()}

    @property
    def parts(self) -> dict[str, list[nn.Module]]:
        """The networks by part."""
        return our_parts(self._ours) if self._released is None else self._released.parts


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def clock(device: str) -> Callable[[], float]:
    """A clock in seconds, which waits for the device before it is read."""

    def read() -> float:
        synchronize(device)
        return time.perf_counter()

    return read


def timed(run: Callable[[], Any], device: str) -> tuple[Any, float]:
    """The result of a function, and the seconds that it takes."""
    read = clock(device)
    start = read()
    result = run()
    return result, read() - start


@contextmanager
def precision(piece: Piece) -> Iterator[None]:
    """PyTorch's own TF32 settings, or no TF32."""
    if piece.tf32:
        yield
    else:
        with float32_mode():
            yield


def measure_ceiling(device: str, *, smoke: bool) -> dict[str, float]:
    """TFLOP/s of a square matrix product by dtype, median of 20."""
    side = 64 if smoke else 8192
    rates = {}
    for name in ("float16", "bfloat16", "tf32", "float32"):
        dtype = torch.float32 if name == "tf32" else getattr(torch, name)
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        with float32_mode(tf32=name == "tf32"):
            for _ in range(3):
                a @ b
            seconds = statistics.median(timed(lambda a=a, b=b: a @ b, device)[1] for _ in range(20))
        rates[name] = 2 * side**3 / seconds / 1e12
    return rates


def measure_path(path: Extraction, device: str, repeats: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Times of one timestep, of its parts and of the grid, and peak memory; also the grid's features."""
    path.one()  # warm-up: choice of kernels, compilation
    synchronize(device)
    _reset_memory(device)
    passes = [timed(path.one, device)[1] for _ in range(repeats)]
    figures: dict[str, Any] = {"one_seconds": passes, "one_memory": _memory(device)}
    with measured(path.parts, clock(device)) as grown:
        path.one()
    figures["part_seconds"] = {part: float(value) for part, value in grown.items()}
    path.grid()
    _reset_memory(device)
    features, seconds = timed(path.grid, device)
    return figures | {"grid_seconds": seconds, "grid_memory": _memory(device)}, features


def _reset_memory(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def _memory(device: str) -> dict[str, float]:
    if not device.startswith("cuda"):
        return {}
    return {
        "allocated_gb": torch.cuda.max_memory_allocated() / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved() / 1e9,
    }


KINDS = (
    ("attention", ("attention",)),
    ("convolution", ("conv",)),
    ("matrix product", ("mm", "linear", "einsum")),
    ("normalisation", ("norm",)),
    ("activation", ("gelu", "silu", "sigmoid", "softmax")),
    ("copy, cast, layout", ("copy", "clone", "cat", "contiguous", "_to_", "pad", "stack")),
)
"""Kinds of operation, and what their names contain; the first kind that fits counts."""


def profile_path(path: Extraction, device: str) -> dict[str, Any]:
    """Seconds on the device of one pass, by kind of operation and by operation."""
    from torch.profiler import ProfilerActivity, profile

    on_cuda = device.startswith("cuda")
    path.one()
    synchronize(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as recorded:
        path.one()
        synchronize(device)
    operations: dict[str, float] = {}
    for event in recorded.key_averages():
        if event.key.startswith("aten::"):
            own = event.self_device_time_total if on_cuda else event.self_cpu_time_total
            operations[event.key] = operations.get(event.key, 0.0) + own / 1e6
    total = sum(operations.values())
    kinds: dict[str, float] = {}
    for name, seconds in operations.items():
        kind = next(
            (kind for kind, parts in KINDS if any(part in name for part in parts)), "elementwise, rest"
        )
        kinds[kind] = kinds.get(kind, 0.0) + seconds
    ordered = sorted(operations.items(), key=lambda item: -item[1])
    return {
        "seconds": total,
        "share_by_kind": {name: value / total for name, value in sorted(kinds.items(), key=lambda i: -i[1])},
        "seconds_by_operation": dict(ordered[:20]),
        "seconds_by_kernel": _by_kernel(recorded),
    }


def _by_kernel(recorded: Any) -> dict[str, list[float]]:
    """Seconds and number of calls of the 30 kernels that take longest, by name."""
    kernels = [event for event in recorded.key_averages() if "CUDA" in str(event.device_type)]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    rows = {e.key[:100]: [e.self_device_time_total / 1e6, float(e.count)] for e in kernels[:30]}
    for name, (seconds, count) in rows.items():
        print(f"  {1e3 * seconds:8.2f} ms {count:5.0f} x {name}")
    return rows


def run_piece(name: str, results: Results, weights: SharedWeights, arguments: argparse.Namespace) -> None:
    """Measure one piece and store its figures."""
    piece, device = PIECES[name], arguments.device
    start = time.perf_counter()
    if piece.kind == "ceiling":
        results.keep(name, measure_ceiling(device, smoke=arguments.smoke))
        return
    size = results.figures["size"]
    frames = window_of(arguments.video, size["frames"])
    try:
        with precision(piece):
            path = Extraction(piece, weights, frames, size, device)
            if piece.profile:
                figures, features = profile_path(path, device), None
            else:
                figures, features = measure_path(path, device, arguments.repeats)
    except (UsageError, torch.OutOfMemoryError) as error:  # this machine lacks something (TF32, memory)
        figures, features = {"skipped": str(error).splitlines()[0]}, None
    path = None  # whose memory the next piece needs
    figures["command_seconds"] = time.perf_counter() - start
    results.keep(name, figures, features)
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def gpu() -> dict[str, Any]:
    """The device and the libraries below PyTorch."""
    if not torch.cuda.is_available():
        return {"device": "none"}
    return {
        "device": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "allow_tf32_of_convolutions": torch.backends.cudnn.allow_tf32,
        "allow_tf32_of_products": torch.backends.cuda.matmul.allow_tf32,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pieces", nargs="*", choices=[[], *PIECES], metavar="PIECE", help=", ".join(PIECES))
    parser.add_argument(
        "--json", type=Path, required=True, help="file of the figures, which is continued if it exists"
    )
    parser.add_argument("--video", help="video file; by default a clip of the built-in world is rendered")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=5, help="number of passes for one timestep")
    parser.add_argument("--again", action="store_true", help="also run pieces that the file already holds")
    parser.add_argument("--note", default="", help="note to store with the figures")
    parser.add_argument(
        "--smoke", action="store_true", help="run a tiny network on the CPU, to check that the script works"
    )
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.device = "cpu"
    elif not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --smoke runs a tiny network on the CPU")
    return arguments


def main() -> None:
    arguments = parse()
    architecture = find_spec("tiny" if arguments.smoke else "svd-xt").architecture
    results = Results(arguments.json)
    if results.figures.get("smoke", arguments.smoke) != arguments.smoke:
        kind = "without" if arguments.smoke else "of"
        sys.exit(f"{arguments.json} holds figures {kind} --smoke; give another file.")
    results.figures |= {"smoke": arguments.smoke, "size": SMOKE_SIZE if arguments.smoke else FULL_SIZE}
    if "tflop" not in results.figures:
        results.figures["tflop"] = count_flop(architecture, **results.figures["size"])
    results.figures |= {"environment": environment(), "gpu": gpu(), "machine": machine()}
    results.figures["note"] = arguments.note or results.figures.get("note", "")
    weights, failed = SharedWeights(architecture), []
    for name in arguments.pieces or [name for name in PIECES if not (arguments.smoke and name in SLOW)]:
        if arguments.again or name not in results.figures["pieces"]:
            print(f"{name} ...", flush=True)
            try:
                run_piece(name, results, weights, arguments)
            except Exception:  # other pieces may work
                traceback.print_exc()
                failed.append(name)
    results.figures["summary"] = summarise(
        results.figures, {name: (piece.kind, piece.ceilings) for name, piece in PIECES.items()}
    )
    results.figures["agreement"] = results.agreement()
    results.write()
    print(table(results.figures))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
