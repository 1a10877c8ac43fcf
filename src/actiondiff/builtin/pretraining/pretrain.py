"""Pre-training from start to end: three stages, which may be interrupted, and the weights that ship."""

import copy
import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from actiondiff import outputs
from actiondiff.backbones.base import find_spec
from actiondiff.builtin.pretraining.clips import StepClips
from actiondiff.builtin.pretraining.diffusion import Denoiser, denoising_loss
from actiondiff.builtin.pretraining.export import write_backbone
from actiondiff.builtin.pretraining.options import CROP, CROPS_PER_CLIP, WINDOW, PretrainingOptions
from actiondiff.builtin.pretraining.samples import sample_sheet
from actiondiff.builtin.pretraining.vae import Autoencoder, autoencoder_loss, crops, standardise
from actiondiff.builtin.world.world import world_hash
from actiondiff.errors import UsageError
from actiondiff.provenance import atomic_path, check_own_folder, environment, write_text
from actiondiff.training.stage import Deadline, StageState, TrainingStage, step_generator

__all__ = ["Pretraining", "pretrain"]

_MEASURED_CLIPS = 32  # clips on which the size of the latents is measured
_SAMPLED_CLIPS = 2
_SETTINGS = "settings.json"
_NAMES = (  # but the log, to which lines are appended
    _SETTINGS,
    *(f"{stage}.state" for stage in ("autoencoder", "half-size", "full-size")),
    *(f"samples-{number}.png" for number in range(_SAMPLED_CLIPS)),
    "tiny/",
)
Report = Callable[[str], None]


class Pretraining:
    """A pre-training run in a folder.

    Args:
        folder: Folder of settings, states, log and samples; created if it does not exist.
        options: Options of the run; they must be those of the run that the folder holds.
        architecture: Configurations of `unet`, `vae` and `clip`; the built-in backbone's by default.
        device: Device to train on.
        workers: Number of processes that render clips ahead; 0 renders them in this process.

    Raises:
        UsageError: If the folder holds a run with other options.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        options: PretrainingOptions,
        *,
        architecture: dict[str, Any] | None = None,
        device: str = "cpu",
        workers: int = 0,
    ) -> None:
        self.device = torch.device(device)
        self._workers = workers
        self.folder = Path(folder)
        self.options = options
        self.architecture = architecture or dict(find_spec("tiny").architecture)
        self._claim()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.autoencoder = Autoencoder(self.architecture["vae"]).to(self.device)
            self.denoiser = Denoiser(self.architecture["unet"], self.architecture["clip"]).to(self.device)

    def _claim(self) -> None:
        settings = {
            "options": self.options.model_dump(),
            "architecture": self.architecture,
            "world": world_hash(),
        }
        path = self.folder / _SETTINGS
        if not path.exists():
            write_text(path, json.dumps(settings, indent=2) + "\n")
        elif _read_settings(path) != settings:
            raise UsageError(
                f"{self.folder} holds a run with other options, or of another world (see its settings.json). "
                "Use another folder, or the same options."
            )

    def run(self, deadline: Deadline, report: Report) -> bool:
        """Continue the run in the folder until it is complete or the deadline has passed.

        Returns:
            Whether the run is complete.

        Raises:
            RunError: If a loss is no longer finite, or a state on disk cannot be read.
        """
        options = self.options
        autoencoder = TrainingStage(
            "autoencoder", self.folder, self.autoencoder, options.autoencoder_steps,
            options.autoencoder_rate, options.warmup_steps, decay=True,
        )  # fmt: skip
        if not autoencoder.run(self._batches("autoencoder"), self._reconstruct, deadline, report):
            return False
        self._standardise()

        half_size = self._stage("half-size")
        denoise = partial(self._denoise, half=True)
        if not half_size.run(self._batches("half-size"), denoise, deadline, report):
            return False

        # The full size continues both the weights and their moving average.
        return self._stage("full-size").run(
            self._batches("full-size"),
            partial(self._denoise, half=False),
            deadline,
            report,
            first_average=StageState.read(half_size.path),
        )

    def _stage(self, name: str) -> TrainingStage:
        """A stage of the diffusion model, at its start."""
        options = self.options
        return TrainingStage(
            name, self.folder, self.denoiser, options.steps(name), options.rate, options.warmup_steps,
            average=options.average,
        )  # fmt: skip

    def _batches(self, stage: str) -> Callable[[range], Iterable[Tensor]]:
        clips = StepClips(self.options.seed, stage, self.options.clips(stage), self.options.world)
        return lambda steps: DataLoader(
            clips,
            batch_size=None,
            sampler=steps,
            num_workers=self._workers,
            multiprocessing_context="spawn" if self._workers else None,
        )

    def _reconstruct(self, step: int, clips: Tensor) -> tuple[Tensor, dict[str, float]]:
        random = step_generator(self.options.seed, "autoencoder", step)
        images = torch.cat([crops(clips, CROP, random) for _ in range(CROPS_PER_CLIP)])
        config = self.architecture["vae"]
        side = CROP // 2 ** (len(config["block_out_channels"]) - 1)
        noise = torch.randn(len(images), config["latent_channels"], side, side, generator=random)
        images = images.to(self.device, memory_format=torch.channels_last)
        with self._autocast():
            return autoencoder_loss(
                self.autoencoder, images, noise.to(self.device), chroma_weight=self.options.chroma_weight
            )

    def _standardise(self) -> tuple[Tensor, Tensor]:
        """Bring the trained autoencoder's latents to SVD's size; returns the scale and shift that undo it."""
        clips = StepClips(self.options.seed, "latents", _MEASURED_CLIPS, self.options.world)[0]
        undo = standardise(self.autoencoder, clips[:, ::4].flatten(0, 1).to(self.device))
        self.autoencoder.requires_grad_(False).eval()
        return undo

    def _denoise(self, step: int, clips: Tensor, *, half: bool) -> tuple[Tensor, dict[str, float]]:
        frames = clips.to(self.device).unflatten(1, (-1, WINDOW)).flatten(0, 1)  # all windows of each clip
        random = step_generator(self.options.seed, "half-size" if half else "full-size", step)
        images = frames.flatten(0, 1)
        if half:
            images = F.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
        with torch.no_grad():
            latents, _ = self.autoencoder.encode(images)
        with self._autocast():
            return denoising_loss(
                self.denoiser, frames, latents.unflatten(0, frames.shape[:2]), self.options, random
            )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16)

    # -- what ships ------------------------------------------------------------------------------------

    def export(self, folder: str | os.PathLike[str]) -> Path:
        """Write the averaged weights of the encoder half in float16, and sample pictures, of the run so far.

        Raises:
            UsageError: If the run has not reached the diffusion model yet.
            RunError: If a state on disk cannot be read.
        """
        paths = [path for name in ("full-size", "half-size") if (path := self._stage(name).path).exists()]
        if not paths:
            raise UsageError(f"{self.folder} has no diffusion model yet. Continue the pre-training.")
        # The trained autoencoder, brought to SVD's size as it was for the diffusion model.
        autoencoder = StageState.read(self.folder / "autoencoder.state")
        self.autoencoder.load_state_dict(autoencoder.weights)
        undo = self._standardise()
        # The moving average of the diffusion model's latest stage.
        state = StageState.read(paths[0])
        averaged = copy.deepcopy(self.denoiser).eval()
        averaged.load_state_dict(state.weights)
        components = {
            part: averaged.get_submodule(part).state_dict() for part in ("unet", "image_encoder")
        } | {"vae": self.autoencoder.encoder.state_dict()}
        origin = _read_settings(self.folder / _SETTINGS)
        origin |= {"stage": paths[0].stem, "step": state.step, "made_with": environment()}
        write_backbone(Path(folder), components, self.architecture, origin)
        self._draw_samples(averaged, undo)
        return Path(folder)

    def _draw_samples(self, model: Denoiser, undo: tuple[Tensor, Tensor]) -> None:
        clips = StepClips(self.options.seed, "samples", _SAMPLED_CLIPS, self.options.world)[0].to(self.device)
        for number, clip in enumerate(clips):
            with atomic_path(self.folder / f"samples-{number}.png") as path:
                sample_sheet(model, self.autoencoder, undo, clip).save(path, "PNG")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path} does not hold the settings of a pre-training ({type(error).__name__}). Use another "
            "folder."
        ) from None


def pretrain(
    folder: str | os.PathLike[str],
    options: PretrainingOptions,
    *,
    device: str = "cpu",
    workers: int = 0,
    minutes: float | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
) -> bool:
    """Train the built-in backbone, or continue its training; write it to `folder/tiny` when it is complete.

    Args:
        folder: Folder of the run; see `Pretraining`.
        options: Options of the run.
        device: Device to train on.
        workers: Number of processes that render clips ahead; 0 renders them in this process.
        minutes: Minutes after which to stop for now; None trains to the end.
        overwrite: Whether files that this did not write, or that were changed since, may be replaced.
        report: Called with a line of progress from time to time.

    Returns:
        Whether the run is complete.

    Raises:
        UsageError: If the folder holds something else, or a run with other options.
        RunError: If a loss is no longer finite, or a state on disk cannot be read.
    """
    check_own_folder(Path(folder), "pre-training run", [_SETTINGS, outputs.STATE_FOLDER], error=UsageError)
    with outputs.claim(folder, "dev pretrain-tiny", _NAMES, overwrite=overwrite):
        run = Pretraining(folder, options, device=device, workers=workers)
        if not run.run(Deadline(minutes), report):
            return False
        run.export(run.folder / "tiny")
    return True
