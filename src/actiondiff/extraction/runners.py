"""The runners of an extraction: this process, processes on this machine, or workers on a Ray cluster."""

from collections.abc import Sequence

from actiondiff.backbones.options import BackboneOptions
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.extraction.devices import device_names, on_devices
from actiondiff.extraction.on_ray import on_ray
from actiondiff.extraction.planned import Runner

__all__ = ["choose_runner", "on_first_device"]


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
    if ray_address is not None or workers is not None:
        raise UsageError("an address of Ray and a number of workers go with engine ray.")
    return None if devices is None else on_devices(devices, weights=weights)


def on_first_device(options: BackboneOptions, devices: Sequence[str]) -> BackboneOptions:
    """Options with the device of the workers, on which the settings depend.

    Raises:
        UsageError: If the options set a device, too.
    """
    if "device" in options.model_fields_set:
        raise UsageError(f"give either device or devices; got {options.device} and {','.join(devices)}.")
    fields = options.model_dump(exclude_unset=True)
    return type(options)(**{**fields, "device": device_names(devices)[0]})
