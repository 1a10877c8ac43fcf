"""Crops of the videos that a model is asked about."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from actiondiff.errors import UsageError

if TYPE_CHECKING:
    from actiondiff.datasets.boxes import VideoBoxes
    from actiondiff.datasets.crop_folder import CroppedVideos
    from actiondiff.heads.bundle import ModelConfig

__all__ = ["crop_for_model"]


def crop_for_model(
    config: "ModelConfig",
    videos: Sequence[Path],
    animals: "VideoBoxes",
    folder: Path,
    *,
    run: str,
    command: str,
    individuals: int | None,
    overwrite: bool,
    quiet: bool,
) -> "CroppedVideos":
    """Write the crops of some videos, made as those that a model has learnt from, and print what they are.

    Args:
        config: The model's config.
        videos: The videos.
        animals: Their boxes.
        folder: Folder to write to.
        run: Name of the model, for messages.
        command: Name of the command that writes.
        individuals: Most individuals of a video; None for all that the boxes name, or else the best one.
        overwrite: Whether files of others may be replaced.
        quiet: Whether to show no progress.

    Raises:
        UsageError: If the model has learnt from whole videos, or boxes and videos do not fit.
    """
    from actiondiff.cli.crop_options import print_crops
    from actiondiff.cli.output.progress import progress_bar
    from actiondiff.datasets.crop_folder import write_crop_files

    options = config.sampling.crops
    if options is None:
        raise UsageError(
            f"{run} has learnt from whole videos, so boxes are of no use to it; leave out --boxes, or train "
            "a model on features that actiondiff extract --boxes has made."
        )
    with progress_bar("Cropping", quiet=quiet) as progress:
        result = write_crop_files(
            folder, videos, animals, options,
            command=command, individuals=individuals, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    print_crops(result, folder)
    return result
