"""Our feature extraction against the released code's: operations counted, time measured, features compared.

    python benchmarks/extraction.py [clip.mp4] [--json FILE]

Both paths run the full-size SVD-XT architecture in float32 on a CPU, in turns in one process, with the same
random weights, frames, threads and attention kernel. They extract one timestep at layer 9, and a grid of 7
timesteps x 13 layers. The released path is `released_path.py`; the script fails unless it counts, at 576 x
1024 and 25 frames, the 372.3 TFLOP of the released code.

Ratios are of CPU time (`time.process_time`), which other work on the machine disturbs least; wall time is
reported as well. At the default size one pass of the released path takes a minute or two on one core, and the
whole script about 20 minutes; it needs 12 GB of memory.
"""

import argparse
import datetime
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from released_path import (
    GRID_TIMESTEPS,
    LAYERS,
    PARTS,
    ReleasedPath,
    SharedWeights,
    count_flop,
    measured,
    our_parts,
    our_path,
    prepared,
    relative_error,
)

import actiondiff
from actiondiff.backbones.base import find_spec
from actiondiff.builtin.world.protocols import sample_specs
from actiondiff.builtin.world.world import render_clip
from actiondiff.provenance import environment
from actiondiff.types import FeatureKey

FULL_SIZE = {"height": 576, "width": 1024, "frames": 25}
RELEASED_TFLOP = 372.3  # TFLOP of the released code for one window and timestep at full size
WANTED_SHARE = 0.8  # share of the FLOP ratio that the measured ratio should reach
CLOSE = 1e-4  # largest relative L2 distance between the two paths' features


class Paths:
    """Both paths on the same weights; ours is run first, so that its own peak memory can be measured.

    Args:
        architecture: Architecture of all networks.
        frames: Frames of the window.
        height: Height in pixels.
        width: Width in pixels.
        threads: Number of threads of both paths.
    """

    def __init__(
        self, architecture: dict[str, Any], frames: actiondiff.Frames, height: int, width: int, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        weights = SharedWeights(architecture)
        self.frames, self.size = frames, (height, width)
        size: dict[str, Any] = {"height": height, "width": width, "window": len(frames), "threads": threads}
        self.ours = our_path(weights, device="cpu", dtype="float32", **size)
        self.peak_memory = {"before": _peak_memory()}
        self.run_ours()
        self.peak_memory["ours, layer 9"] = _peak_memory()
        self.run_our_grid()
        self.peak_memory["ours, grid"] = _peak_memory()
        self.released = ReleasedPath(weights)

    def run_released(self, timestep: int) -> dict[FeatureKey, Any]:
        """Run the released path: one timestep, all layers."""
        return self.released.features(prepared(self.frames.pixels, *self.size, "cpu"), timestep)

    def run_ours(self) -> Any:
        """Run our path: timestep 20, layer 9."""
        return self.ours.extract(self.frames, timesteps=(20,), layers=(9,)).tokens

    def run_our_grid(self) -> Any:
        """Run our path: 7 timesteps x 13 layers."""
        return self.ours.extract(self.frames, timesteps=GRID_TIMESTEPS, layers=LAYERS).tokens


def time_in_turns(paths: Paths, rounds: int) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
    """Time passes of both paths in turns, and measure how far their features are apart.

    The grid of the released path is one pass per timestep; these seven passes also measure one timestep.
    """
    taken: dict[str, list[dict[str, Any]]] = {"released": [], "ours": [], "ours grid": []}
    theirs: dict[FeatureKey, Any] = {}
    ours: dict[FeatureKey, Any] = {}
    for round_number in range(rounds):
        for timestep in GRID_TIMESTEPS:
            measurement = _timed(paths.released.parts, lambda t=timestep: paths.run_released(t))
            theirs |= measurement.pop("result")
            taken["released"].append(measurement)
            _report(f"round {round_number + 1}, released, timestep {timestep}", measurement)
            measurement = _timed(our_parts(paths.ours), paths.run_ours)
            single = measurement.pop("result")
            taken["ours"].append(measurement)
            if timestep in GRID_TIMESTEPS[::3]:
                measurement = _timed(our_parts(paths.ours), paths.run_our_grid)
                ours |= measurement.pop("result")
                taken["ours grid"].append(measurement)
    key = FeatureKey.of(20, 9)
    errors = {str(each): relative_error(ours[each], theirs[each]) for each in ours}
    return taken, {
        "t20.layer9, asked for alone": relative_error(single[key], theirs[key]),
        "t20.layer9, of the grid": errors[str(key)],
        "largest of the grid": max(errors.values()),
    }


def _timed(parts: Any, run: Any) -> dict[str, Any]:
    with measured(parts, lambda: np.array([time.process_time(), time.perf_counter()])) as grown:
        result = run()
    return {
        "result": result,
        "cpu_seconds": {part: float(value[0]) for part, value in grown.items()},
        "wall_seconds": {part: float(value[1]) for part, value in grown.items()},
    }


def _report(name: str, measurement: dict[str, Any]) -> None:
    print(f"{name}: {measurement['cpu_seconds']['all']:.1f} s of CPU time", file=sys.stderr, flush=True)


def compare(
    taken: dict[str, list[dict[str, Any]]], flop: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """FLOP ratios and measured ratios: medians over passes; the released grid counts as seven passes."""
    rows = {}
    for name, ours, theirs, passes in (
        ("one timestep, layer 9", "ours", "released", 1),
        ("7 timesteps x 13 layers", "ours grid", "released grid", len(GRID_TIMESTEPS)),
    ):
        ratios = {
            clock: passes * _median(taken["released"], clock, "all") / _median(taken[ours], clock, "all")
            for clock in ("cpu_seconds", "wall_seconds")
        }
        expected = flop[theirs]["all"] / flop[ours]["all"]
        rows[name] = {
            "flop_ratio": expected,
            "cpu_time_ratio": ratios["cpu_seconds"],
            "wall_time_ratio": ratios["wall_seconds"],
            "share_of_flop_ratio": ratios["cpu_seconds"] / expected,
        }
    return rows


def _median(passes: list[dict[str, Any]], clock: str, part: str) -> float:
    return statistics.median(one[clock][part] for one in passes)


def by_part(
    taken: dict[str, list[dict[str, Any]]], flop: dict[str, dict[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Median CPU seconds, TFLOP and GFLOP per second of each part of one pass."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for name, passes in taken.items():
        seconds = {part: _median(passes, "cpu_seconds", part) for part in (*PARTS, "all")}
        rows[name] = {
            part: {
                "cpu_seconds": value,
                "tflop": flop[name][part],
                "gflop_per_second": 1e3 * flop[name][part] / value if value else 0.0,
            }
            for part, value in seconds.items()
        }
    return rows


def table(figures: dict[str, Any]) -> str:
    """The main figures in Markdown."""
    lines = ["| | FLOP ratio | CPU time ratio | share | wall time ratio |", "|--|--|--|--|--|"]
    for name, row in figures["ratios"].items():
        lines.append(
            f"| {name} | {row['flop_ratio']:.2f} | {row['cpu_time_ratio']:.2f} | "
            f"{row['share_of_flop_ratio']:.2f} | {row['wall_time_ratio']:.2f} |"
        )
    lines += ["", "| one pass | part | TFLOP | CPU s | GFLOP/s |", "|--|--|--|--|--|"]
    for path, parts in figures["parts"].items():
        for part, row in parts.items():
            lines.append(
                f"| {path} | {part} | {row['tflop']:.3f} | {row['cpu_seconds']:.2f} | "
                f"{row['gflop_per_second']:.0f} |"
            )
    lines += ["", *(f"relative L2, {name}: {value:.1e}" for name, value in figures["agreement"].items())]
    lines += [f"peak memory, {name}: {value:.2f} GiB" for name, value in figures["peak_memory_gib"].items()]
    return "\n".join(lines)


def window_of(video: str | None, count: int) -> actiondiff.Frames:
    """The first frames, every fourth one, of a video or of a clip of the built-in world."""
    if video:
        return actiondiff.read_video(video, stride=4)[:count]
    pixels = render_clip(sample_specs("train", 1)[0]).pixels
    return actiondiff.Frames(np.resize(pixels[::4], (count, *pixels.shape[1:])))


def check_released(flop: dict[str, dict[str, float]]) -> float:
    """TFLOP of the released path at full size, which must agree with the released code's."""
    counted = flop["released"]["all"]
    assert abs(counted / RELEASED_TFLOP - 1) < 0.01, f"counted {counted} TFLOP; the released code takes 372.3"
    return counted


def machine() -> dict[str, Any]:
    """Date and machine of the measurement."""
    return {
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "video", nargs="?", help="video file; by default a clip of the built-in world is rendered"
    )
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds of the whole grid")
    parser.add_argument(
        "--note", default="", help="note to store with the figures, for example what else was running"
    )
    parser.add_argument("--count-only", action="store_true", help="only count FLOP, without timing anything")
    parser.add_argument(
        "--smoke", action="store_true", help="run a tiny network, to check that the script works"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    architecture = find_spec("tiny" if arguments.smoke else "svd-xt").architecture
    size = {"height": arguments.height, "width": arguments.width, "frames": arguments.frames}
    figures: dict[str, Any] = {"size": size, "threads": arguments.threads, "smoke": arguments.smoke}
    if not arguments.smoke:
        figures["tflop_at_576x1024_25_frames"] = count_flop(architecture, **FULL_SIZE)
        check_released(figures["tflop_at_576x1024_25_frames"])
    figures["tflop"] = count_flop(architecture, **size)
    if not arguments.count_only:
        frames = window_of(arguments.video, arguments.frames)
        paths = Paths(architecture, frames, arguments.height, arguments.width, arguments.threads)
        figures["passes"], figures["agreement"] = time_in_turns(paths, arguments.rounds)
        paths.peak_memory["both, on the same weights"] = _peak_memory()
        figures["ratios"] = compare(figures["passes"], figures["tflop"])
        figures["parts"] = by_part(figures["passes"], figures["tflop"])
        figures["peak_memory_gib"] = paths.peak_memory
        print(table(figures))
    else:
        print(json.dumps(figures, indent=2))
    figures |= {"environment": environment(), "machine": machine(), "note": arguments.note}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    if not arguments.count_only:
        assert figures["agreement"]["largest of the grid"] < CLOSE, "the two paths' features differ"
        reached = [row["share_of_flop_ratio"] >= WANTED_SHARE for row in figures["ratios"].values()]
        print(f"measured ratios reach {WANTED_SHARE} of the FLOP ratios: {'yes' if all(reached) else 'NO'}")


if __name__ == "__main__":
    main()
