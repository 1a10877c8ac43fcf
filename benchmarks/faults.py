"""Extraction that is killed, runs out of disk, runs twice or reads damaged videos must lose nothing.

    python benchmarks/faults.py FOLDER_OF_CLIPS [--kills 30] [--mutants 300] [--json FILE]

One undisturbed extraction is the reference. Each trial then fills a store of its own:

    kills       SIGKILL at moments spread evenly between the first and the last write, then continued
    writer      SIGKILL at named points of the writer, at its first, middle and last passage, then continued
    interrupts  Ctrl-C, then continued
    disk full   a file system that is too small for the store, then continued with enough room
    two         two processes that fill one store at the same time
    devices     two worker processes, one of which is killed; and the same on Ray, if it is installed
    mutants     clips with flipped bits, truncated clips, and clips with a damaged header

After each trial but the last the store must hold the same bytes as the undisturbed one, and nothing else.
Of every mutant at least as many frames must decode as PyAV alone decodes before its first error, less one; if
they are not all, a reason must be recorded. The videos of `tests/cases` are mutated, too.

The script needs a system that can fork, and exits with 1 after any violation. FILE is written after
each trial; it keeps the trials that are not run again.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np

import actiondiff
from actiondiff.backbones.base import Backbone
from actiondiff.errors import ActionDiffError
from actiondiff.features.store import FeatureStore
from actiondiff.provenance import canonical_json, environment
from actiondiff.video.search import find_videos

STRIDE = 4
TINY: dict[str, Any] = {"height": 32, "width": 32, "window": 8, "batch": 4, "threads": 1, "device": "cpu"}
POINTS = ("opened", "written", "synced", "renamed", "unrecorded", "recorded")
CASES = Path(__file__).parents[1] / "tests" / "cases" / "videos"
REFUSED = ("its pictures have", "no frame is shown for")  # a limit, not damage
LARGEST_CLIP, LARGEST_MUTANT = 60_000, 500_000  # bytes; larger clips would only take longer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, help="folder of videos")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--skip", default="", help="trials to skip, for example ray,mutants")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file to which the figures are also written"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(find_videos([arguments.clips]), Path(folder), arguments.json)
        trials.run(arguments.kills, arguments.mutants, set(arguments.skip.split(",")))
    print(f"{len(trials.violations)} violations")
    if trials.violations:
        sys.exit(1)


class Trials:
    """All trials on some clips, and their results."""

    def __init__(self, originals: list[Path], folder: Path, json_file: Path | None = None) -> None:
        self.json_file = json_file
        self.originals, self.clips, self.folder = originals, folder / "clips", folder
        self.clips.mkdir()
        for path in originals:
            if path.stat().st_size <= LARGEST_CLIP:
                shutil.copyfile(path, self.clips / path.name)
        self.violations: list[str] = []
        self.figures: dict[str, Any] = {}
        if json_file and json_file.exists():
            self.figures = json.loads(json_file.read_text("utf-8"))
        self.whole: dict[str, bytes] = {}

    def run(self, num_kills: int, num_mutants: int, skip: set[str]) -> None:
        """Run the trials one after the other, and print one line for each."""
        backbone()
        start = time.perf_counter()
        code = wait(child(extract, self.clips, self.folder / "whole"))
        assert code == 0, f"the undisturbed extraction ended with {code}"
        self.whole = content(self.folder / "whole")
        store = FeatureStore.open(self.folder / "whole")
        self.num_files = len(list((self.folder / "whole").rglob("*.safetensors")))
        self.seconds = time.perf_counter() - start
        self.figures["undisturbed"] = {
            "videos": len(store.index),
            "files": self.num_files,
            "failed": sum(failure.status == "failed" for failure in store.failures.values()),
            "partial": sum(failure.status == "partial" for failure in store.failures.values()),
            "tokens": int(store.index["num_tokens"].sum()),
        }
        print(json.dumps(self.figures["undisturbed"]), flush=True)
        every: dict[str, Callable[[], dict[str, Any]]] = {
            "kills": lambda: self.kills(num_kills),
            "writer": self.writer,
            "interrupts": lambda: self.kills(3, signal.SIGINT),
            "disk full": self.disk_full,
            "two": self.two_writers,
            "devices": lambda: self.killed_worker("devices"),
            "ray": lambda: self.killed_worker("ray"),
            "mutants": lambda: self.mutants(num_mutants),
        }
        for name, trial in every.items():
            if name not in skip:
                before, start = len(self.violations), time.perf_counter()
                self.figures[name] = trial()
                self.figures[name]["violations"] = self.violations[before:]
                totals = {key: value for key, value in self.figures[name].items() if key != "each"}
                print(f"{name:11} {json.dumps(totals)} ({time.perf_counter() - start:.0f} s)", flush=True)
                self.save()

    def save(self) -> None:
        """Write the figures so far."""
        if self.json_file:
            self.figures["machine"] = environment()
            self.json_file.write_text(json.dumps(self.figures, indent=2) + "\n", "utf-8")

    def kills(self, count: int, how: int = signal.SIGKILL) -> dict[str, Any]:
        """Kill extractions at even distances between the first write and the last."""
        done: Counter[str] = Counter()
        num_cut = 0
        for number in range(count):
            share = (number + 0.5) / count
            for attempt in range(5):
                store = self.folder / f"killed-{how}-{number}-{attempt}"
                process = child(extract, self.clips, store)
                number_of_files = share * self.num_files * 0.9**attempt  # earlier, if the last came too late
                wait_for_files(store, number_of_files, process, self.seconds / self.num_files)
                os.kill(process, how)
                code = wait(process)
                if code != 0:  # it had not ended before
                    num_cut += 1
                    break
            files = len(list(store.rglob("*.safetensors")))
            done[f"{10 * int(10 * files / self.num_files)} % of the files written"] += 1
            self.resume(store, f"killed by {how} after {files} files")
        if num_cut < count:
            self.violations.append(f"signal {how}: only {num_cut} of {count} extractions were cut short")
        return {
            "cut short": num_cut,
            "when": dict(sorted(done.items(), key=lambda item: int(item[0].split()[0]))),
        }

    def writer(self) -> dict[str, Any]:
        """Kill at every fault point: at its first, middle and last passage."""
        killed_at: dict[str, list[int]] = {}
        passages = {"unrecorded": self.num_files, "recorded": self.num_files}
        for point in POINTS:
            last = passages.get(point, self.num_files + 3)  # store.json and two tables are written likewise
            for number in (1, 2, last // 2, last):
                store = self.folder / f"{point}-{number}"
                code = wait(child(extract, self.clips, store, fault=f"{point}:{number}"))
                if code == -signal.SIGKILL:
                    killed_at.setdefault(point, []).append(number)
                else:
                    self.violations.append(f"writer: point {point} was not passed {number} times")
                self.resume(store, f"killed at {point}:{number}")
        return {"killed": sum(map(len, killed_at.values())), "points": killed_at}

    def resume(self, store: Path, what: str) -> None:
        """Continue the extraction; the store must then equal the undisturbed one."""
        code = wait(child(extract, self.clips, store))
        if code != 0:
            self.violations.append(f"{what}: the extraction after it ended with {code}")
        self.compare(store, what)

    def compare(self, store: Path, what: str) -> None:
        """Check that a store holds the same bytes as the undisturbed one, and nothing else."""
        files = content(store)
        for name in sorted({*files, *self.whole}):
            if files.get(name) != self.whole.get(name):
                state = "missing" if name not in files else "left over" if name not in self.whole else "other"
                self.violations.append(f"{what}: {name} is {state}")
        self.violations += [f"{what}: verify: {problem}" for problem in FeatureStore.open(store).verify()]
        shutil.rmtree(store)

    def disk_full(self) -> dict[str, Any]:
        """Fill a file system; where none can be mounted, reach a limit on the size of a file."""
        sizes = sorted(len(data) for name, data in self.whole.items() if name.endswith(".safetensors"))
        results: dict[str, Any] = {}
        for share in (0.2, 0.5, 0.8):
            with small_disk(self.folder / "disk", int(share * sum(sizes))) as (disk, kind):
                limit = sizes[int(share * len(sizes))] if kind == "limit on a file's size" else None
                process = child(extract, self.clips, disk / "store", limit=limit)
                code = wait(process)
                message = (self.folder / f"{process}.txt").read_text().strip()
                num_kept = len(list((disk / "store").rglob("*.safetensors")))
                if code != 1 or "stopped" not in message or len(message.splitlines()) > 1:
                    self.violations.append(f"disk full: it ended with {code} and printed {message[-200:]!r}")
                shutil.copytree(disk / "store", self.folder / "moved")
            shutil.rmtree(self.folder / "disk", ignore_errors=True)
            results[f"{share:.0%} of the room"] = f"{num_kept} of {self.num_files} files kept"
            self.resume(self.folder / "moved", f"disk full at {share:.0%}")
        return {"how": kind, **results}

    def two_writers(self) -> dict[str, Any]:
        """Let two processes fill one store with the same videos."""
        for number in range(3):
            store = self.folder / f"two-{number}"
            codes = [wait(process) for process in [child(extract, self.clips, store) for _ in range(2)]]
            if codes != [0, 0]:
                self.violations.append(f"two writers ended with {codes}")
            self.compare(store, "two writers")
        return {"times": 3}

    def killed_worker(self, engine: str) -> dict[str, Any]:
        """Start two workers, and kill one of them when a quarter of the files is written."""
        if engine == "ray" and find_spec("ray") is None:
            return {"skipped": "Ray is not installed"}
        store, arguments = self.folder / engine, ["--engine", "ray", "--workers", "2"]
        arguments = arguments if engine == "ray" else ["--devices", "cpu,cpu"]
        small = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
        small = small if engine == "ray" else small[:-2]
        command = [sys.executable, "-m", "actiondiff", "extract", str(self.clips), "-o", str(store)]
        process = subprocess.Popen(
            [*command, *small, *arguments, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ACTIONDIFF_TRIAL": str(store)},
        )
        killed: list[int] = []
        while not killed and process.poll() is None:
            if len(list(store.rglob("*.safetensors"))) >= self.num_files // 4:
                killed = workers(str(store), process.pid)[:1]
                for worker in killed:
                    os.kill(worker, signal.SIGKILL)
            time.sleep(0.02)
        output, _ = process.communicate()
        if process.returncode not in (0, 3) or not killed:
            self.violations.append(f"{engine}: ended with {process.returncode}, {len(killed)} killed")
        self.compare(store, f"{engine} with a killed worker")
        return {"workers killed": len(killed), "done": json.loads(output or "{}").get("num_done", 0)}

    def mutants(self, count: int) -> dict[str, Any]:
        """Damage clips in many ways and extract them all; compare with PyAV alone."""
        folder, store = self.folder / "mutants", self.folder / "of mutants"
        folder.mkdir()
        originals = [*self.originals, *find_videos([CASES])]
        sources = [path for path in originals if 0 < path.stat().st_size <= LARGEST_MUTANT]
        kinds = mutate(sources, folder, count)
        codes = []
        while not codes or (codes[-1] < 0 and len(codes) < 5):
            codes.append(wait(child(extract, folder, store)))
        if codes != [0]:
            self.violations.append(f"mutants: the extraction crashed: {codes}")
        filled = FeatureStore.open(store)
        self.violations += [f"mutants: verify: {problem}" for problem in filled.verify()]
        outcomes: Counter[str] = Counter()
        frames: Counter[str] = Counter()
        for name, kind in kinds.items():
            row, failure = filled.row(name), filled.failures.get(name)
            status = row.status if row else failure.status if failure else "lost"
            outcomes[f"{kind}: {status}"] += 1
            header = filled.header(row.identity) if row and row.identity else None
            decoded = header.report.num_frames_decoded if header and header.report else 0
            least = plain_count(folder / name) - 1
            frames["ours"] += decoded
            frames["PyAV before its first error"] += least + 1
            is_refused = failure is not None and failure.reason.startswith(REFUSED)
            if (row is None or decoded < least) and not is_refused:
                self.violations.append(f"mutants: of {name} {decoded} frames decode, PyAV {least + 1}")
            if status != "ok" and not (failure and failure.reason):
                self.violations.append(f"mutants: {name} is {status} without a reason")
        return {"videos": len(kinds), "frames": dict(frames), "outcomes": dict(sorted(outcomes.items()))}


@cache
def backbone() -> Backbone:
    """The backbone, loaded before any process is forked, when it has not computed anything."""
    return actiondiff.load_backbone("tiny", **TINY)


def extract(clips: Path, store: Path) -> int:
    """Extract features; returns 0 at the end, 1 if an error of ours stopped the extraction."""
    try:
        actiondiff.extract_features(clips, store, backbone=backbone(), stride=STRIDE)
    except ActionDiffError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def child(
    act: Callable[[Path, Path], int], clips: Path, store: Path, *, fault: str = "", limit: int | None = None
) -> int:
    """Call a function in a forked process, which starts fast; its output goes to a file of its number."""
    process = os.fork()
    if process:
        return process
    code = 2
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put us aside
        os.dup2(os.open(clips.parent / f"{os.getpid()}.txt", os.O_CREAT | os.O_WRONLY), 2)
        os.environ["ACTIONDIFF_FAULT"] = fault
        if limit is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = act(clips, store)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(process: int) -> int:
    """Exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def wait_for_files(store: Path, number: float, process: int, seconds_a_file: float) -> None:
    """Wait until so many files are written; a fraction is a share of the time that one file takes."""
    while len(list(store.glob("features/*/*.safetensors"))) < int(number):
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)
    time.sleep(seconds_a_file * (number - int(number)))


def content(store: Path) -> dict[str, bytes]:
    """Every file but the lock, and store.json without the environment, whose commit may change."""
    files = (path for path in store.rglob("*") if path.is_file() and path.name != ".lock")
    contents = {path.relative_to(store).as_posix(): path.read_bytes() for path in files}
    description = json.loads(contents["store.json"])
    return {**contents, "store.json": canonical_json({**description, "environment": None}).encode()}


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[tuple[Path, str]]:
    """A file system of this size, if one can be mounted."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield folder, "small file system" if made.returncode == 0 else "limit on a file's size"
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


def workers(token: str, parent: int) -> list[int]:
    """Worker processes of a trial, recognised by their environment."""
    processes = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title, variables = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
        except OSError:
            continue
        is_worker = b"devices import serve" in title or (title.startswith(b"ray::") and b"_do_part" in title)
        if is_worker and token.encode() in variables and int(path.name) != parent:
            processes.append(int(path.name))
    return processes


def mutate(clips: list[Path], folder: Path, count: int, seed: int = 0) -> dict[str, str]:
    """Write damaged copies of clips, the same ones every time: name -> kind of damage."""
    random = np.random.default_rng(seed)
    kinds = {}
    for number in range(count):
        kind, source = ("bits", "cut", "header")[number % 3], clips[(number // 3) % len(clips)]
        data = np.frombuffer(source.read_bytes(), dtype=np.uint8).copy()
        if kind == "bits":  # anywhere, from one to some hundreds
            places = random.integers(0, len(data), int(2 ** random.uniform(0, 9)))
            data[places] ^= (1 << random.integers(0, 8, len(places))).astype(np.uint8)
        elif kind == "cut":
            data = data[: int(len(data) * random.uniform(0.02, 0.99))]
        else:  # bytes of the first and last kilobytes, where containers keep their tables
            size = min(4096, len(data) // 2)
            start = 0 if number % 2 else len(data) - size
            places = start + random.integers(0, size, random.integers(1, 64))
            data[places] = random.integers(0, 256, len(places))
        name = f"{number:04}-{kind}-{source.name}"
        (folder / name).write_bytes(data.tobytes())
        kinds[name] = kind
    return kinds


def plain_count(path: Path) -> int:
    """Number of frames that PyAV alone decodes before its first error."""
    count = 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:  # a damaged title harms no frame
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            for _ in container.decode(stream):
                count += 1
    except (av.error.FFmpegError, IndexError, ValueError, AttributeError):  # the last: there is no decoder
        pass
    return count


if __name__ == "__main__":
    main()
