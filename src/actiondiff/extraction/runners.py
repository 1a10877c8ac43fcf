"""The runners of an extraction: this process, processes on this machine, or workers on a Ray cluster."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from actiondiff.backbones.options import BackboneOptions
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.extraction.devices import device_names, on_devices
from actiondiff.extraction.on_ray import on_ray
from actiondiff.extraction.planned import Extraction, Runner
from actiondiff.extraction.scheduler import WorkerJob
from actiondiff.processes import available_memory, num_cores

__all__ = ["choose_runner", "num_default_workers", "on_first_device"]

_WORTH_A_WORKER = 128
"""Windows of `tiny`. Of two workers each must have 98 to repay their start: where it was measured,
a process took 4.9 s of processor time to start, and 50 ms for a window."""


def choose_runner(
    engine: str,
    *,
    weights: str | None = None,
    devices: Sequence[str] | None = None,
    ray_address: str | None = None,
    workers: int | None = None,
) -> Runner | None:
    """Choose what does the work; None for this process. Arguments as in `extract_features`.

    Raises:
        UnknownNameError: If there is no such engine.
        UsageError: If the other arguments do not belong to the engine, or are not as described.
        MissingExtraError: If the engine is not installed.
    """
    if engine not in ("local", "ray"):
        raise UnknownNameError("engine", engine, ["local", "ray"])
    if engine == "ray":
        if devices is not None:
            raise UsageError(
                f"devices go with engine local, Ray places its workers; got {','.join(devices)}."
            )
        return on_ray(ray_address, workers=workers, weights=weights)
    if ray_address is not None:
        raise UsageError(f"an address of Ray goes with engine ray; got {ray_address} with engine local.")
    if workers is not None and workers < 1:
        raise UsageError(f"there must be at least one worker; got {workers}.")
    if devices is not None and workers is not None:
        raise UsageError(
            f"give either devices, with one worker for each, or a number of workers; got {','.join(devices)} "
            f"and {workers}."
        )
    return None if devices is None else on_devices(devices, weights=weights)


def num_default_workers(
    extraction: Extraction, *, weights: str | None = None, limit: int | None = None
) -> int:
    """Number of worker processes that are worth starting where no devices are named; 1 for none.

    A backbone that runs on the CPU with one thread gets one worker per core, if there is enough to do and
    enough memory. Every other backbone uses a GPU or all cores by itself.

    Args:
        extraction: The planned extraction.
        weights: Checkpoint of the backbone.
        limit: Largest number of workers.
    """
    options, plan = extraction.backbone.options, extraction.plan
    most = min(num_cores(), len(plan.todo), num_cores() if limit is None else limit)
    if most < 2 or options.threads != 1 or not options.device.startswith("cpu"):
        return 1
    try:
        WorkerJob.of(extraction, weights)
    except UsageError:  # workers cannot load this backbone
        return 1
    # Headers of many videos are slow to read, and every video has at least one window.
    few = replace(extraction, plan=replace(plan, todo=plan.todo[: most * _WORTH_A_WORKER]))
    workload = few.workload()
    most = min(most, (workload.num_windows + workload.num_unknown) // _WORTH_A_WORKER)
    memory = available_memory()
    if memory is not None:
        most = min(most, memory // (2 * _own_memory()))  # a worker holds the network, as this process does
    return max(1, most)


def _own_memory() -> int:
    """Bytes of memory that this process took at most."""
    import resource  # not on Windows, where the memory is not known either

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def on_first_device(options: BackboneOptions, devices: Sequence[str]) -> BackboneOptions:
    """Options with the device of the workers, on which the settings depend.

    Raises:
        UsageError: If the options set a device, too.
    """
    if "device" in options.model_fields_set:
        raise UsageError(f"give either device or devices; got {options.device} and {','.join(devices)}.")
    fields = options.model_dump(exclude_unset=True)
    return type(options)(**{**fields, "device": device_names(devices)[0]})
