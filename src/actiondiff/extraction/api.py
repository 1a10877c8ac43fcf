"""Bulk extraction: videos to a filled feature store."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from actiondiff.backbones.base import RANDOM, Backbone, find_spec, load_backbone, shipped_specs
from actiondiff.backbones.engine.encoding import TwoStage
from actiondiff.backbones.engine.run import feature_keys
from actiondiff.backbones.options import BackboneOptions, FitOptions, every_option, options_class
from actiondiff.errors import UsageError
from actiondiff.extraction.crops import check_crops, options_of_crops
from actiondiff.extraction.devices import on_devices
from actiondiff.extraction.plan import StrPath, VideoInputs, make_plan, name_videos, videos_with_latents_only
from actiondiff.extraction.planned import Extraction, ExtractionSummary, open_if_present
from actiondiff.extraction.runners import choose_runner, num_default_workers, on_first_device
from actiondiff.features.store import FORMAT, FeatureStore, StoreDtype
from actiondiff.types import DEFAULT_STRIDE, JSON, Progress, Sampling

__all__ = ["as_recorded", "extract_features", "plan_extraction"]


def extract_features(
    videos: VideoInputs,
    store: StrPath,
    *,
    backbone: Backbone | str = "tiny",
    weights: str | None = None,
    timesteps: Sequence[int] | None = None,
    layers: Sequence[int | str] | Literal["all"] | None = None,
    engine: Literal["local", "ray"] = "local",
    devices: Sequence[str] | None = None,
    ray_address: str | None = None,
    workers: int | None = None,
    root: StrPath | None = None,
    stride: int | None = DEFAULT_STRIDE,
    fps: float | None = None,
    stream: int | None = None,
    store_dtype: StoreDtype = "float32",
    shard: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_latents: bool = False,
    decode_threads: int | None = None,
    progress: Progress | None = None,
) -> ExtractionSummary:
    """Extract features of videos into a store. Features that are stored already are not made again.

    A video is identified by its content: a file under several names is extracted once, a moved or renamed one
    is not extracted again, and a changed one is. The whole video is extracted, whatever the spans of examples
    say. A video that cannot be decoded is recorded in the store's `failures.csv`, reported every time, and
    tried again only if its content changes or `retry_failed` is set. An interrupted extraction continues
    where it stopped, and no interruption changes a byte of the finished features.

    Args:
        videos: Files, folders (which are searched for videos), the path of a table, or examples.
        store: Folder of the store; created if it does not exist.
        backbone: A backbone, or the name of one.
        weights: Checkpoint of the backbone; only with a name.
        timesteps: Diffusion timesteps; None for the backbone's own.
        layers: Numbers or names of layers; None for the backbone's own.
        engine: Where the work is done: `local` is this machine, `ray` is a Ray cluster.
        devices: With `local`: devices with one worker process each, for example ["0", "1"] (GPUs) or
            ["cpu", "cpu"]; None to work in this process.
        ray_address: With `ray`: address of the cluster, for example `auto`; None starts one on this machine.
        workers: Largest number of worker processes. None takes, with `ray`, as many as the cluster has room
            for; with `local`, one per core for a backbone that is given by name and runs on the CPU with one
            thread, if there is enough to do. Changes no bit of the features.
        root: Folder that the videos' names are relative to. By default the store's; for a new store the
            table's folder, or the folder that all paths are in. Give it if the videos were moved.
        stride: Every stride-th frame is sampled.
        fps: Frames are sampled at this rate instead; the stride is then ignored.
        stream: Number of the stream of each file to read; None for the one that the store records, or else
            the main one.
        store_dtype: Type of the stored numbers.
        shard: (i, n): extract only the i-th of n parts, counted from 1. Each part may run on another machine,
            all into the same store.
        retry_failed: Try again videos that could not be decoded before.
        keep_latents: Also store the encoded windows of SVD (1.9 to 3.8 MB each at 576x1024). Further
            timesteps and layers are then made from these, with the same bits, and do not need the video.
        decode_threads: How many videos each process reads at the same time, ahead of the backbone; 0 to read
            none ahead, None for one per core, at most four. Changes no bit of the features.
        progress: Called as `progress(done, total, video)` after each video.

    Returns:
        What was done, and what failed.

    Raises:
        UsageError: If there is no video, or an argument is not as described.
        UnknownNameError: If there is no such backbone, layer or engine.
        TableError: If the table has problems.
        WeightsError: If the weights are missing or do not fit.
        SettingsMismatchError: If the store was made with other settings.
        StoreError: If the store cannot be read or written, or workers keep dying.
        MissingExtraError: If the engine is not installed.
    """
    runner = choose_runner(engine, weights=weights, devices=devices, ray_address=ray_address, workers=workers)
    is_named, weights_of_workers = isinstance(backbone, str), weights
    # Settings depend on the device, so the backbone here is loaded for the device of the workers.
    if devices and isinstance(backbone, str):
        options = on_first_device(as_recorded(store), devices)
        backbone, weights = load_backbone(backbone, weights=weights, options=options), None
    extraction = plan_extraction(
        videos,
        store,
        backbone=backbone,
        weights=weights,
        timesteps=timesteps,
        layers=layers,
        root=root,
        stride=stride,
        fps=fps,
        stream=stream,
        store_dtype=store_dtype,
        shard=shard,
        retry_failed=retry_failed,
        keep_latents=keep_latents,
        decode_threads=decode_threads,
    )
    # A backbone that was loaded elsewhere may not be the one that workers would load by its name.
    if runner is None and (is_named or workers is not None):
        num_workers = num_default_workers(extraction, weights=weights_of_workers, limit=workers)
        if num_workers > 1:
            runner = on_devices(["cpu"] * num_workers, weights=weights_of_workers)
    return extraction.run(progress, runner=runner)


def plan_extraction(
    videos: VideoInputs,
    store: StrPath,
    *,
    backbone: Backbone | str = "tiny",
    weights: str | None = None,
    timesteps: Sequence[int] | None = None,
    layers: Sequence[int | str] | Literal["all"] | None = None,
    root: StrPath | None = None,
    stride: int | None = DEFAULT_STRIDE,
    fps: float | None = None,
    stream: int | None = None,
    store_dtype: StoreDtype = "float32",
    shard: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_latents: bool = False,
    decode_threads: int | None = None,
) -> Extraction:
    """Plan an extraction; nothing is written and no feature is computed. Arguments as in `extract_features`.

    Returns:
        The planned extraction. Its `workload()` says how much there is to do, its `run()` does it.
    """
    if isinstance(backbone, str):
        network = load_backbone(backbone, weights=weights, options=as_recorded(store))
    elif weights is not None:
        raise UsageError(f"weights go with the name of a backbone, not with a backbone; got {weights!r}.")
    else:
        network = backbone
    if isinstance(layers, str):
        if layers != "all":
            raise UsageError(f"layers are a list of numbers or names, or 'all'; got {layers!r}.")
        layers = network.taps
    keys = feature_keys(network, timesteps, layers)
    if keep_latents and not isinstance(network, TwoStage):
        raise UsageError(f"{network.spec.name} has no latents to keep; leave out keep_latents.")
    if decode_threads is not None and decode_threads < 0:
        raise UsageError(f"decode_threads cannot be negative; got {decode_threads}.")
    folder = Path(store)
    existing = open_if_present(folder)
    base, names = name_videos(
        videos,
        root=root,
        stored_root=existing.root if existing else None,
        deleted=videos_with_latents_only(existing) if existing else (),
    )
    sampling = _sampling(network, existing, Sampling.of(stride, fps), stream)
    sampling = replace(sampling, crops=options_of_crops(names.values()))
    settings: dict[str, JSON] = {
        "format": FORMAT,
        "backbone": network.settings,
        "sampling": sampling.settings,
        "store_dtype": store_dtype,
    }
    # A store with other settings is refused before any video is read.
    if existing:
        check_crops(existing, sampling.crops)
        existing.check(settings)
    plan = make_plan(
        names,
        keys,
        store=existing,
        shard=shard,
        retry_failed=retry_failed,
        keep_latents=keep_latents,
        encoded_type=network.encoded_type if isinstance(network, TwoStage) else None,
    )
    return Extraction(
        folder, base, settings, network, sampling, plan, decode_threads, keep_latents=keep_latents
    )


def _sampling(
    backbone: Backbone, store: FeatureStore | None, sampling: Sampling, stream: int | None
) -> Sampling:
    """How videos are read: with square pixels where the backbone keeps the shape of pictures.

    A store keeps the choice that it was made with: stores of earlier versions have pictures as stored.
    """
    options = backbone.options
    square = isinstance(options, FitOptions) and options.fit == "crop"
    if store:
        settings: Any = store.settings["sampling"]
        recorded = Sampling.from_settings(settings)
        square, stream = recorded.square, recorded.stream if stream is None else stream
    return replace(sampling, stream=stream, square=square)


def as_recorded(store: StrPath, options: BackboneOptions | None = None) -> BackboneOptions:
    """Options with batch, threads and arithmetic as an existing store records them, where none are set.

    They change rounding and are part of a store's settings, but their defaults depend on the machine. A store
    that was begun on one machine is thus continued with the same bits on another.
    """
    options = options or BackboneOptions()
    existing = open_if_present(Path(store))
    settings: Any = existing.settings["backbone"] if existing else {}
    recorded = {name: settings[name] for name in ("batch", "threads") if name in settings}
    chosen = type(options)
    if settings.get("name", "").removeprefix(RANDOM) in shipped_specs():
        family = options_class(find_spec(settings["name"]).kind)
        implied = dict(family.older)
        # Arithmetic whose default has become faster since, on devices that have a choice.
        if options.device.startswith("cuda") or (options.device == "auto" and torch.cuda.is_available()):
            implied |= family.arithmetic
        chosen = every_option() if chosen is BackboneOptions else chosen
        implied = {name: value for name, value in implied.items() if name in chosen.model_fields}
        recorded |= {name: settings.get(name, value) for name, value in implied.items()}
    return chosen(**{**recorded, **options.model_dump(exclude_unset=True)})
