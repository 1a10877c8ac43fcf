"""Our feature extraction against the path as released: work counted, time measured, features compared.

    python benchmarks/extraction.py [clip.mp4] [--json FILE]

Both paths run the full-size SVD-XT architecture in float32 on a CPU, with the same random weights, frames,
threads and attention kernel, in turns in one process. Asked for are one timestep at layer 9, and a grid of 7
timesteps x 13 layers. The released path is `released_path.py`; at 576 x 1024 and 25 frames it must count the
372.3 TFLOP that the released code takes, or the script fails.

Ratios are of CPU time (`time.process_time`), which other work on the machine disturbs least; wall time stands
beside it. At the default size one pass of the released path takes a minute or two on one core, the whole
script about 20; 12 GB of memory are needed.
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
RELEASED_TFLOP = 372.3  # of the released code, one window and timestep at full size
WANTED_SHARE = 0.8  # of the FLOP ratio that the measured ratio should reach
CLOSE = 1e-4  # relative L2 between the two paths' features


class Paths:
    """Both paths on the same weights, ours built and run first so that its own peak memory shows.

    Args:
        architecture: Of all networks.
        frames: The window.
        height: In pixels.
        width: In pixels.
        threads: Of both paths.
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
        """One timestep, all layers."""
        return self.released.features(prepared(self.frames.pixels, *self.size, "cpu"), timestep)

    def run_ours(self) -> Any:
        """Timestep 20, layer 9."""
        return self.ours.extract(self.frames, timesteps=(20,), layers=(9,)).tokens

    def run_our_grid(self) -> Any:
        """7 timesteps x 13 layers."""
        return self.ours.extract(self.frames, timesteps=GRID_TIMESTEPS, layers=LAYERS).tokens


def time_in_turns(paths: Paths, rounds: int) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
    """Passes of both paths in turns, and how far their features are apart.

    The released path's grid is one pass a timestep; those seven passes are also what its one timestep costs.
    """
    taken: dict[str, list[dict[str, Any]]] = {"released": [], "ours": [], "ours grid": []}
    theirs: dict[FeatureKey, Any] = {}
    ours: dict[FeatureKey, Any] = {}
    for round_number in range(rounds):
        for timestep in GRID_TIMESTEPS:
            found = _timed(paths.released.parts, lambda t=timestep: paths.run_released(t))
            theirs |= found.pop("result")
            taken["released"].append(found)
            _report(f"round {round_number + 1}, released, timestep {timestep}", found)
            found = _timed(our_parts(paths.ours), paths.run_ours)
            single = found.pop("result")
            taken["ours"].append(found)
            if timestep in GRID_TIMESTEPS[::3]:
                found = _timed(our_parts(paths.ours), paths.run_our_grid)
                ours |= found.pop("result")
                taken["ours grid"].append(found)
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


def _report(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: {found['cpu_seconds']['all']:.1f} s of CPU time", file=sys.stderr, flush=True)


def compare(
    taken: dict[str, list[dict[str, Any]]], flop: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """FLOP ratio beside measured ratios: medians over passes, the released grid as seven passes."""
    found = {}
    for name, ours, theirs, passes in (
        ("one timestep, layer 9", "ours", "released", 1),
        ("7 timesteps x 13 layers", "ours grid", "released grid", len(GRID_TIMESTEPS)),
    ):
        ratios = {
            clock: passes * _median(taken["released"], clock, "all") / _median(taken[ours], clock, "all")
            for clock in ("cpu_seconds", "wall_seconds")
        }
        expected = flop[theirs]["all"] / flop[ours]["all"]
        found[name] = {
            "flop_ratio": expected,
            "cpu_time_ratio": ratios["cpu_seconds"],
            "wall_time_ratio": ratios["wall_seconds"],
            "share_of_flop_ratio": ratios["cpu_seconds"] / expected,
        }
    return found


def _median(passes: list[dict[str, Any]], clock: str, part: str) -> float:
    return statistics.median(one[clock][part] for one in passes)


def by_part(
    taken: dict[str, list[dict[str, Any]]], flop: dict[str, dict[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Median CPU seconds, TFLOP and GFLOP a second of each part of one pass."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, passes in taken.items():
        seconds = {part: _median(passes, "cpu_seconds", part) for part in (*PARTS, "all")}
        found[name] = {
            part: {
                "cpu_seconds": value,
                "tflop": flop[name][part],
                "gflop_per_second": 1e3 * flop[name][part] / value if value else 0.0,
            }
            for part, value in seconds.items()
        }
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures that matter, in Markdown."""
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
    """The released path's TFLOP at full size; it must be no straw man."""
    counted = flop["released"]["all"]
    assert abs(counted / RELEASED_TFLOP - 1) < 0.01, f"counted {counted} TFLOP; the released code takes 372.3"
    return counted


def machine() -> dict[str, Any]:
    """What the figures were taken on, and when."""
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
    parser.add_argument("video", nargs="?", help="without one a clip of the built-in world is drawn")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="of the whole grid")
    parser.add_argument("--note", default="", help="kept with the figures, for example what else ran")
    parser.add_argument("--count-only", action="store_true", help="count FLOP, time nothing")
    parser.add_argument("--smoke", action="store_true", help="a tiny network: shows that the script works")
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
