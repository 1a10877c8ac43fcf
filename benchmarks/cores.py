"""Time to extract features with one process and with one per core, and whether the bits are the same.

    python benchmarks/cores.py [--clips 60] [--repeats 3] [--json FILE]

Clips of the built-in world, each of 64 frames, are drawn, and their features made by the built-in backbone,
as `extract`, `predict` and `sweep --extract` make them: by one process and by one per core, in turns. The
medians of wall time are given beside the load of the machine, without which their ratio says nothing, and the
time that all processes together computed.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from actiondiff.builtin.dataset import write_menagerie
from actiondiff.extraction.api import extract_features
from actiondiff.processes import num_cores
from actiondiff.provenance import environment


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="file to which the figures are also written")
    arguments = parser.parse_args()
    wall: dict[int, list[float]] = {1: [], num_cores(): []}
    computed: dict[int, list[float]] = {1: [], num_cores(): []}
    stores = []
    with tempfile.TemporaryDirectory() as folder:
        write_menagerie(Path(folder, "clips"), train=arguments.clips, test=2, val=2)
        for repeat in range(arguments.repeats):
            for workers in wall:
                store = Path(folder, f"{repeat}-{workers}")
                start, used = time.perf_counter(), processor_seconds()
                extract_features(Path(folder, "clips"), store, stride=2, workers=workers)
                wall[workers].append(time.perf_counter() - start)
                computed[workers].append(processor_seconds() - used)
                features = sorted(store.rglob("*.safetensors"))
                stores.append([(path.relative_to(store), path.read_bytes()) for path in features])
    one, all_cores = (statistics.median(wall[workers]) for workers in (1, num_cores()))
    result = {
        "videos": len(stores[0]),
        "cores": num_cores(),
        "load_of_the_machine": os.getloadavg()[0],
        "wall_seconds": {"one_process": one, "one_per_core": all_cores},
        "processor_seconds": {
            str(workers): statistics.median(values) for workers, values in computed.items()
        },
        "times_faster": one / all_cores,
        "same_features": all(store == stores[0] for store in stores),
        "machine": environment(),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def processor_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
