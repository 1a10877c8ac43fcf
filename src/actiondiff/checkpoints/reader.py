"""The one way to weights: original single file, converted folder, diffusers folder or hub id."""

import os
from collections.abc import Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from actiondiff.checkpoints.architecture import Config, is_needed
from actiondiff.checkpoints.contents import (
    Contents,
    StoredTensor,
    check_unknown,
    contents_of_file,
    contents_of_folder,
)
from actiondiff.checkpoints.encoders import are_one
from actiondiff.checkpoints.hub import locate
from actiondiff.checkpoints.identity import Digest, combined, recall, remember
from actiondiff.errors import UnknownNameError, WeightsError

__all__ = ["Checkpoint", "open_checkpoint"]


class Checkpoint:
    """Weights under the names of diffusers and transformers, each read when it is used.

    Components: `unet` (its encoder half at least), `image_encoder` (CLIPVisionModelWithProjection), `vae`
    (`encoder.*` and `quant_conv.*`, the conditioner's), and `latent_encoder` (`encoder.*`, the first
    stage's, and its `quant_conv.*` if `latent_quant_conv`), which is there only where `one_vae` is False.

    Args:
        contents: Contents of the file or folder.

    Attributes:
        contents: Contents of the file or folder.
        unet_config: Arguments of `diffusers.UNetSpatioTemporalConditionModel`.
        clip_config: Arguments of `transformers.CLIPVisionConfig`; None without image encoder.
        vae_config: `block_out_channels`, `layers_per_block`, `latent_channels`, `scaling_factor` ...; None
            without VAE.
        latent_quant_conv: Whether `latent_encoder` has a quantisation convolution.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.unet_config: Config = contents.configs["unet"]
        self.clip_config: Config | None = contents.configs.get("image_encoder")
        self.vae_config: Config | None = contents.configs.get("vae")
        self.latent_quant_conv = bool(contents.configs.get("latent_encoder", {}).get("use_quant_conv"))

    @cached_property
    def one_vae(self) -> bool:
        """Whether `vae` serves for both latents and conditioning; see `encoders.are_one`."""
        latent = self.contents.entries.get("latent_encoder")
        if not latent:
            return True
        vae = self.contents.entries["vae"]
        return are_one(lambda name: latent[name].read(), lambda name: vae[name].read(), latent)

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of the components that can be read."""
        return tuple(
            component
            for component in self.contents.entries
            if component != "latent_encoder" or not self.one_vae
        )

    @cached_property
    def identity(self) -> str:
        """sha256 (hex) of names, shapes, values as float32 and attention heads that layers 1 .. 13 need.

        It is the same for a single file, a converted folder and a diffusers folder with the same values. It
        is computed from what is read, or taken from the user's cache if these bytes were hashed before; what
        the files say of themselves is not believed.
        """
        digests = recall(self.contents.files)
        if digests.keys() != set(self.components):
            digests = {component: self._digest(component) for component in self.components}
            remember(self.contents.files, digests)
        return combined(digests, self.contents.configs)

    def _digest(self, component: str) -> str:
        digest = Digest()
        for name, entry in self._entries(component).items():
            if is_needed(component, name):
                digest.add(name, entry.read())
        return digest.hexdigest()

    def keys(self, component: str) -> frozenset[str]:
        """Names of a component's tensors.

        Raises:
            UnknownNameError: If there is no such component.
        """
        return frozenset(self._entries(component))

    def tensors(
        self, component: str, names: Iterable[str] | None = None, *, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Read tensors of a component, and no others.

        Args:
            component: One of `components`.
            names: Names of the tensors; None for all.
            dtype: Dtype to cast them to; None: as stored.

        Raises:
            UnknownNameError: If there is no such component.
            WeightsError: If a name is absent.
        """
        entries = self._entries(component)
        chosen = list(entries if names is None else names)
        missing = [name for name in chosen if name not in entries]
        if missing:
            listed = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            raise WeightsError(
                f"{self.contents.source} is incomplete: it lacks {len(missing)} of the {len(chosen)} tensors "
                f"needed for {component}: {listed}. Give the complete file or folder."
            )
        return {name: _cast(entries[name].read(), dtype) for name in chosen}

    def _entries(self, component: str) -> Mapping[str, StoredTensor]:
        entries = self.contents.entries.get(component)
        if entries is None or (component == "latent_encoder" and self.one_vae):
            raise UnknownNameError("component of the weights", component, self.components)
        return entries


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype or tensor.dtype).contiguous()


def open_checkpoint(
    path_or_hub_id: str | os.PathLike[str],
    *,
    unet_head_dim: int | None = None,
    clip_head_dim: int | None = None,
    allow_unknown: bool = False,
) -> Checkpoint:
    """Open weights; only the tables of contents are read yet.

    Args:
        path_or_hub_id: Original single file, converted folder, diffusers folder, or hub id `owner/name`. A
            path that exists takes precedence over a hub id.
        unet_head_dim: Attention head width of the U-Net, which a single file does not tell; None: 64.
        clip_head_dim: Attention head width of the image encoder; None: 80.
        allow_unknown: Whether tensors that the networks do not have are listed and left out; else they are an
            error.

    Raises:
        WeightsError: If nothing is there, or it is a pickle, cut short or another model.
    """
    path = locate(path_or_hub_id)
    read = contents_of_folder if path.is_dir() else contents_of_file
    contents = read(path, unet_head_dim=unet_head_dim, clip_head_dim=clip_head_dim)
    check_unknown(contents, allow_unknown=allow_unknown)
    return Checkpoint(contents)
