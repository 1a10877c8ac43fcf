"""Bulk extraction on this machine: videos to a filled feature store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from actiondiff.backbones.base import Backbone, load_backbone
from actiondiff.backbones.engine.encoding import TwoStage
from actiondiff.backbones.engine.run import feature_keys
from actiondiff.backbones.options import BackboneOptions
from actiondiff.errors import StoreError, UsageError
from actiondiff.extraction.plan import (
    Cost,
    Plan,
    StrPath,
    Videos,
    estimate,
    kept_videos,
    make_plan,
    name_videos,
)
from actiondiff.extraction.worker import WindowProgress, work
from actiondiff.features.store import FORMAT, FeatureStore, StoreDtype
from actiondiff.types import DEFAULT_STRIDE, JSON, Progress, Sampling

__all__ = [
    "Do",
    "Extraction",
    "ExtractionSummary",
    "as_recorded",
    "extract_features",
    "plan_extraction",
]

Do: TypeAlias = Callable[["Extraction", FeatureStore, Progress | None], None]
"""Makes what an extraction's plan has to do: in this process, or in several."""


@dataclass(frozen=True)
class ExtractionSummary:
    """How an extraction went. Counts are of videos, by name, of this shard.

    Attributes:
        store: The store's folder.
        num_videos: All that were asked for.
        num_done: Those that features were made for.
        num_skipped: Those that nothing was left to do for, whether stored or known to fail.
        failed: Video -> why it has no features (or not all), whether found now or before.
        partial: Video -> what is missing of it, whether found now or before.
    """

    store: Path
    num_videos: int
    num_done: int
    num_skipped: int
    failed: Mapping[str, str]
    partial: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether every video has all its features."""
        return not (self.failed or self.partial)


@dataclass(frozen=True)
class Extraction:
    """An extraction that is planned; nothing is written before `run`.

    Attributes:
        folder: The store, which may not be there yet.
        root: The folder that names are relative to.
        settings: The store's.
        backbone: The network.
        sampling: Which frames of the videos are read.
        plan: What is to be done.
        decode_threads: How many videos are read at a time; None for the default.
        keep_latents: Whether to store what windows are encoded to, too.
    """

    folder: Path
    root: Path
    settings: Mapping[str, JSON]
    backbone: Backbone
    sampling: Sampling
    plan: Plan
    decode_threads: int | None = None
    keep_latents: bool = False

    def cost(self) -> Cost:
        """About how much it takes, as far as headers tell."""
        return estimate(
            self.plan,
            sampling=self.sampling,
            window=int(self.backbone.options.window or 1),
            store=_open(self.folder),
            tubelet=self.backbone.tubelet,
        )

    def run(
        self,
        progress: Progress | None = None,
        *,
        on_windows: WindowProgress | None = None,
        do: Do | None = None,
    ) -> ExtractionSummary:
        """Do it, in this process unless another way is given; see `extract_features`.

        Args:
            progress: Told after each content.
            on_windows: Told after each batch, if the work is done in this process.
            do: The other way.
        """
        try:
            store = FeatureStore.create(self.folder, settings=self.settings, root=self.root)
            try:
                self._record_known(store)
                (do or partial(_do_here, on_windows))(self, store, progress)
            finally:
                store.tidy()  # this also reads what other processes recorded
            return self._summary(store)
        except OSError as error:
            raise StoreError(
                f"extraction into {self.folder} stopped: {error}. What was done is kept: extract again once "
                "that is mended."
            ) from error

    def _record_known(self, store: FeatureStore) -> None:
        """Bring the store's records up to date with what the plan found; computes nothing."""
        for item in self.plan.stored:
            store.attach(item.identity, item.videos)
        for item in self.plan.failed:
            store.fail(item.videos, store.known_failure(item.identity) or "", identity=item.identity)
        for video, reason in self.plan.absent.items():
            store.fail(video, reason)
        asked = set(self.plan.videos)
        store.forget(
            video
            for video, failure in store.failures.items()
            if failure.status == "failed" and video not in asked and not (self.root / video).exists()
        )

    def _summary(self, store: FeatureStore) -> ExtractionSummary:
        plan = self.plan
        todo = {video for item in plan.todo for video in item.videos}
        skipped = {video for item in (*plan.stored, *plan.failed) for video in item.videos}
        mine = todo | skipped | set(plan.absent)
        failures = {video: failure for video, failure in store.failures.items() if video in mine}
        failed = {video: reason for video, (status, reason) in failures.items() if status == "failed"}
        partial = {video: reason for video, (status, reason) in failures.items() if status == "partial"}
        return ExtractionSummary(
            self.folder, len(mine), len(todo - set(failed)), len(skipped), failed=failed, partial=partial
        )


def _do_here(
    on_windows: WindowProgress | None,
    extraction: Extraction,
    store: FeatureStore,
    progress: Progress | None,
) -> None:
    work(
        store,
        extraction.backbone,
        extraction.plan.todo,
        sampling=extraction.sampling,
        decode_threads=extraction.decode_threads,
        keep_latents=extraction.keep_latents,
        progress=progress,
        on_windows=on_windows,
    )


def extract_features(
    videos: Videos,
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
    store_dtype: StoreDtype = "float32",
    shard: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_latents: bool = False,
    decode_threads: int | None = None,
    progress: Progress | None = None,
) -> ExtractionSummary:
    """Extract features of videos into a store; what is there already is not made again.

    A video counts by its content: under several names it is extracted once, moved or renamed not again,
    changed anew. Spans of examples do not matter here: the whole video is extracted. One that cannot be
    decoded is recorded in the store's `failures.csv`, told of every time, and tried again only if its content
    changes or `retry_failed` is set. Extraction cut short goes on where it was, and nothing of how it went
    changes a byte of the finished features.

    Args:
        videos: Files, folders (searched for videos), the path of a table, or examples.
        store: The store's folder; made if it is not there.
        backbone: A backbone, or the name of one.
        weights: Its checkpoint; only with a name.
        timesteps: Diffusion timesteps; None for the backbone's own.
        layers: Numbers or names of layers; None for the backbone's own.
        engine: Where the work is done: `local` is this machine, `ray` a Ray cluster.
        devices: With `local`: one worker process for each, for example ["0", "1"] (GPUs) or ["cpu", "cpu"];
            None for this process alone.
        ray_address: With `ray`: the cluster, for example `auto`; None starts one on this machine.
        workers: With `ray`: how many; None for as many as there is room for.
        root: The folder that videos' names are relative to. None: the store's; for a new one the table's
            folder, or the folder that all paths are in. Give it if the videos were moved.
        stride: Every stride-th frame is taken.
        fps: Frames are taken at this rate instead; stride then does not matter.
        store_dtype: In what features are stored.
        shard: (i, n): only the i-th, from 1, of n parts. Each part may run anywhere, all into one store.
        retry_failed: Try again what could not be decoded before.
        keep_latents: Store what SVD's encoders make of every window, too (1.9 to 3.8 MB at 576x1024): further
            timesteps and layers are then made of that, with the same bits, and need no video.
        decode_threads: How many videos each process reads at a time, ahead of the backbone; 0 for none ahead,
            None for as many as there are cores, up to four. Changes no bit.
        progress: Called as `progress(done, total, video)` after each content.

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
    from actiondiff.extraction.engines import choose_workers, on_first_device

    do = choose_workers(engine, weights=weights, devices=devices, ray_address=ray_address, workers=workers)
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
        store_dtype=store_dtype,
        shard=shard,
        retry_failed=retry_failed,
        keep_latents=keep_latents,
        decode_threads=decode_threads,
    )
    return extraction.run(progress, do=do)


def plan_extraction(
    videos: Videos,
    store: StrPath,
    *,
    backbone: Backbone | str = "tiny",
    weights: str | None = None,
    timesteps: Sequence[int] | None = None,
    layers: Sequence[int | str] | Literal["all"] | None = None,
    root: StrPath | None = None,
    stride: int | None = DEFAULT_STRIDE,
    fps: float | None = None,
    store_dtype: StoreDtype = "float32",
    shard: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_latents: bool = False,
    decode_threads: int | None = None,
) -> Extraction:
    """Everything that `extract_features` does before it writes or computes; arguments as there.

    Returns:
        What is to be done. Its `cost()` tells how much that is, its `run()` does it.
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
    sampling = Sampling.of(stride, fps)
    settings: dict[str, JSON] = {
        "format": FORMAT,
        "backbone": network.settings,
        "sampling": sampling.settings,
        "store_dtype": store_dtype,
    }
    folder = Path(store)
    target = _open(folder)
    if target:
        target.check(settings)
    kept = kept_videos(target) if target else ()
    base, names = name_videos(videos, root=root, stored_root=target.root if target else None, kept=kept)
    plan = make_plan(
        names,
        keys,
        store=target,
        shard=shard,
        retry_failed=retry_failed,
        keep_latents=keep_latents,
        encoded_type=network.encoded_type if isinstance(network, TwoStage) else None,
    )
    return Extraction(
        folder, base, settings, network, sampling, plan, decode_threads, keep_latents=keep_latents
    )


def as_recorded(store: StrPath, options: BackboneOptions | None = None) -> BackboneOptions:
    """Options with the batch and threads of a store that is there, unless these were asked for.

    Both change rounding and belong to a store's settings, but their defaults depend on the machine: so a
    store that was begun on one machine goes on with the same bits on another.
    """
    options = options or BackboneOptions()
    found = _open(Path(store))
    recorded: Any = found.settings["backbone"] if found else {}
    kept = {name: recorded[name] for name in ("batch", "threads") if name in recorded}
    return type(options)(**{**kept, **options.model_dump(exclude_unset=True)})


def _open(folder: Path) -> FeatureStore | None:
    """The store in a folder, if there is one."""
    return FeatureStore.open(folder) if FeatureStore.is_at(folder) else None
