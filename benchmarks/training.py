"""Speed of training the paper's head, in clips per second, against a loop that reads one file per clip.

    python benchmarks/training.py [--lengths FILE] [--device cuda] [--threads 1] [--json FILE]

The same training step (transformer of 6 layers on tokens of width 1280, focal loss, mixup, AdamW) gets its
batch in three ways:

    plain      one file is read per clip, and every clip is padded to 150 tokens, as in the released code
    shorter    the same files, padded to the longest clip of the batch
    ours       features are packed on the device once, and batches are formed by length; also in bfloat16

The three take turns with one head. The time of a step depends on the longest clip of its batch; the timed
batches are therefore spread evenly over the epoch's batches, sorted by length. On one CPU thread the time is
processor time, which other work on the machine hardly changes; otherwise it is wall time. Tokens are random,
since their values do not change the cost. Without --lengths (a file with one number of tokens per line)
lengths are drawn from a log-normal distribution with mean 45: Animal Kingdom's 50 hours in 30,100 clips make
6 s per clip, which is 45 tokens at 30 frames per second and stride 4.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from actiondiff.datasets.packing import Batch, PackedFeatures, pack_arrays
from actiondiff.heads import build_head
from actiondiff.heads.options import HeadOptions
from actiondiff.provenance import environment
from actiondiff.training.augment import draw_mixup, mixup
from actiondiff.training.batches import draw_batches
from actiondiff.training.losses import loss_function
from actiondiff.training.options import TrainingOptions
from actiondiff.types import Example

WIDTH, CLASSES = 1280, 140  # SVD's layer 9; Animal Kingdom
HEAD, OPTIONS = HeadOptions(), TrainingOptions()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lengths", type=Path, help="file with the number of tokens of each clip, one per line"
    )
    parser.add_argument("--clips", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=2, help="number of timed steps of each way")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="file to which the figures are also written")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    lengths = read_lengths(arguments.lengths, arguments.clips)
    with tempfile.TemporaryDirectory() as folder:
        clips = make_clips(lengths, Path(folder))
        packed = clips.to(arguments.device)
        figures = measure(clips, packed, Path(folder), arguments.steps, arguments.device)
    figures["machine"] = {
        "device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "CPU",
        "threads": arguments.threads,
        **environment(),
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def read_lengths(path: Path | None, count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    if path is None:
        return np.maximum(1, random.lognormal(np.log(45) - 0.32, 0.8, count)).astype(np.int64)
    return random.choice(np.array([int(line) for line in path.read_text().split()]), count)


def make_clips(lengths: np.ndarray, folder: Path) -> PackedFeatures:
    """Make clips in memory, and write each to a file of its own."""
    random = np.random.default_rng(1)
    arrays = [random.standard_normal((length, WIDTH), dtype=np.float32) for length in lengths]
    for number, array in enumerate(arrays):
        np.save(folder / f"{number}.npy", array)
    labels = tuple(str(number) for number in range(CLASSES))
    examples = [Example(f"{n:05}", (labels[n % CLASSES],)) for n in range(len(arrays))]
    return pack_arrays(arrays, examples, labels)


def measure(
    clips: PackedFeatures, packed: PackedFeatures, folder: Path, num_steps: int, device: str
) -> dict[str, object]:
    limit, size = HEAD.max_tokens, OPTIONS.batch_size
    lengths = clips.lengths.clamp(max=limit)
    at_random, by_length = (
        draw_batches(lengths, batch_size=size, pool=pool, generator=np.random.default_rng(2))
        for pool in (1, OPTIONS.length_pool)
    )

    def from_files(padded: int | None) -> Callable[[torch.Tensor], Batch]:
        def load(chosen: torch.Tensor) -> Batch:
            arrays = [np.load(folder / f"{number}.npy")[:limit] for number in chosen.tolist()]
            slots = padded or max(map(len, arrays))
            tokens, mask = torch.zeros(len(arrays), slots, WIDTH), torch.zeros(len(arrays), slots, dtype=bool)
            for row, array in enumerate(arrays):
                tokens[row, : len(array)] = torch.from_numpy(array)
                mask[row, : len(array)] = True
            return Batch(tokens.to(device), mask.to(device), packed.targets[chosen.to(device)])

        return load

    def from_memory(chosen: torch.Tensor) -> Batch:
        return packed.batch(chosen, max_tokens=limit)

    ways = {
        "plain": (from_files(limit), at_random, torch.float32),
        "shorter": (from_files(None), at_random, torch.float32),
        "ours": (from_memory, by_length, torch.float32),
        "ours, bfloat16": (from_memory, by_length, torch.bfloat16),
    }
    step = Step(device)
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    step.take(from_memory(by_length[0][:4]), torch.float32)  # warm-up
    for number in range(num_steps):
        for name, (load, batches, dtype) in ways.items():
            ranked = sorted(batches, key=lambda batch: int(lengths[batch].max()))
            chosen = ranked[int((number + 0.5) / num_steps * len(ranked))]
            start = clock()
            step.take(load(chosen), dtype)
            seconds[name].append((clock() - start) / len(chosen))
    rates = {name: 1 / float(np.mean(values)) for name, values in seconds.items()}
    return {
        "tokens_a_clip": {
            "clips": len(clips),
            "mean": float(clips.lengths.double().mean()),
            "quantiles_0_10_25_50_75_90_100": np.quantile(
                clips.lengths.numpy(), [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]
            ).tolist(),
            "longer_than_150": int((clips.lengths > limit).sum()),
        },
        "share_of_slots_that_are_padding": {
            "all to 150": 1 - float(lengths.double().mean()) / limit,
            "to the longest of a batch at random": padding(lengths, at_random),
            "ours": padding(lengths, by_length),
        },
        "clips_a_second": rates,
        "ours_by_plain": rates["ours"] / rates["plain"],
        "ours_by_shorter": rates["ours"] / rates["shorter"],
        "bfloat16_by_float32": rates["ours, bfloat16"] / rates["ours"],
        "milliseconds_to_load_a_batch": {
            name: 1000 * timed(lambda load=load, batches=batches: load(batches[0]), device)
            for name, (load, batches, _) in list(ways.items())[:3]
        },
        "bfloat16_relative_error_of_logits": step.logits_error(packed.batch(by_length[0], max_tokens=limit)),
        "parameters": sum(parameter.numel() for parameter in step.head.parameters()),
    }


class Step:
    """A training step: head, loss and optimizer."""

    def __init__(self, device: str) -> None:
        self.head = build_head(HEAD, WIDTH, CLASSES, seed=0).to(device).train()
        self.device = device
        self.loss = loss_function(OPTIONS)
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=OPTIONS.learning_rate)
        self.random = np.random.default_rng(3)

    def take(self, batch: Batch, dtype: torch.dtype) -> float:
        """Take one step; returns its loss."""
        share, partner = draw_mixup(OPTIONS.mixup, len(batch.targets), self.random)
        batch = mixup(batch, share=share, partner=partner)
        self.optimizer.zero_grad()
        loss = self.loss(self.logits(batch, dtype), batch.targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()  # reading the value waits for the device

    def logits(self, batch: Batch, dtype: torch.dtype) -> torch.Tensor:
        """Logits of a batch, computed in a data type."""
        with torch.autocast(self.device.partition(":")[0], dtype, enabled=dtype != torch.float32):
            return self.head(batch.tokens, batch.mask).float()

    def logits_error(self, batch: Batch) -> float:
        """Relative L2 distance of bfloat16 logits from float32 ones."""
        self.head.eval()
        with torch.inference_mode():
            full, half = (self.logits(batch, dtype) for dtype in (torch.float32, torch.bfloat16))
        return float((half - full).norm() / full.norm())


def padding(lengths: torch.Tensor, batches: list[torch.Tensor]) -> float:
    slots = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - int(lengths.sum()) / slots


def timed(act: Callable[[], object], device: str, repeats: int = 5) -> float:
    act()
    start = time.perf_counter()
    for _ in range(repeats):
        act()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()
