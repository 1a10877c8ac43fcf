"""Stable Video Diffusion as a frozen backbone.

A window of frames becomes latents z (VAE), conditioning latents y (VAE) and image embeddings e (CLIP). The
encoder half of the U-Net sees [c_in z, y], the noise level and e; the outputs of its layers are the features.
By default no noise is added: the timestep enters through c_in and the time embedding only.

Source: the released code of arXiv 2509.08908, whose random draws are set to their mean unless
`stochastic=True`; every other choice is a field of `SVDOptions`.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from actiondiff.backbones.base import (
    RANDOM,
    BackboneSpec,
    WindowBatch,
    resolve,
)
from actiondiff.backbones.engine.encoding import EncodedWindows, spatial_mean
from actiondiff.backbones.engine.precision import autoencoder_arithmetic, float32_mode
from actiondiff.backbones.engine.run import extract
from actiondiff.backbones.svd.compiling import check_compiler
from actiondiff.backbones.svd.fused import kernel_problem
from actiondiff.backbones.svd.inputs import (
    FREE_TAPS,
    LATENT_SCALE,
    PIXEL_NOISE,
    Encoded,
    InputEncoder,
    SVDWeights,
    clip_input,
    default_vae_chunk,
)
from actiondiff.backbones.svd.options import SVDOptions
from actiondiff.backbones.svd.random_checkpoint import RandomCheckpoint
from actiondiff.backbones.svd.schedule import input_scale, noise_condition, sigmas
from actiondiff.backbones.svd.taps import NUM_LAYERS, Encoder, UNetContext
from actiondiff.backbones.svd.text import ActionTexts, action_names
from actiondiff.checkpoints.locate import VARIABLE, find_weights
from actiondiff.checkpoints.reader import open_checkpoint
from actiondiff.errors import UsageError, WeightsError, warn_once
from actiondiff.types import JSON, FeatureKey, Features, Frames

__all__ = ["ADDED", "LATENT_SCALE", "SVD", "Encoded", "clip_input", "load"]

ADDED = (6.0, 127.0, PIXEL_NOISE)  # fps_id, motion_bucket_id and cond_aug, as the released code embeds them
_BUILT_IN = Path(__file__).parents[1] / "builtin"  # weights that come with the package, in folders
_TEXT = "text"  # name of the text tower in the machine's folder of weights
_SHORTHAND = {
    "per-frame": ("own", "own"),
    "middle-frame": ("middle", "own"),
    "none": ("none", "zero"),
    "text": ("text", "own"),
}
_NOT_SETTINGS = {
    "device",
    "conditioning",
    "preset",
    "unet_head_dim",
    "clip_head_dim",
    "text_weights",
    "actions",
}


class SVD:
    """See `Backbone`. Load it with `load_backbone`.

    Attributes:
        inputs: VAE and image encoder, which make the first stage.
    """

    tubelet = 1
    encoded_type: type[EncodedWindows] = Encoded

    def __init__(
        self,
        spec: BackboneSpec,
        options: SVDOptions,
        checkpoint: SVDWeights,
        texts: ActionTexts | None = None,
    ) -> None:
        self.spec = spec
        self.options = options
        self.num_timesteps = int(options.num_steps or spec.num_timesteps)
        self.taps = tuple(f"layer{n}" for n in range(1, NUM_LAYERS + 1)) + FREE_TAPS
        self._checkpoint = checkpoint
        self._texts = texts
        self.device = torch.device(options.device)
        self._dtype: torch.dtype = getattr(torch, options.dtype)
        if checkpoint.vae_config is None or checkpoint.clip_config is None:
            raise WeightsError(
                f"the weights for {spec.name} hold a U-Net without VAE or image encoder; features need all "
                "three. Give the complete original file or a complete folder."
            )
        factor = 2 ** (len(checkpoint.vae_config["block_out_channels"]) - 1)
        height, width = int(options.height or 0), int(options.width or 0)
        if height % factor or width % factor:
            raise UsageError(f"height and width must be multiples of {factor}; got {height}x{width}.")
        self.inputs = InputEncoder(checkpoint, options, texts)

    @property
    def settings(self) -> dict[str, JSON]:
        """Everything that the features depend on; see `Backbone.settings`."""
        ignored = _NOT_SETTINGS | ({"seed"} if not self._random else set())
        if not self.options.allow_unknown:
            ignored |= {"allow_unknown"}  # recorded where it is set, so that a trained model loads again
        chosen: dict[str, JSON] = self.options.model_dump(exclude=ignored, exclude_none=True)
        if self._texts:
            chosen |= {"actions": list[JSON](self._texts.names), "text_weights": self._texts.identity}
        for name in ("fused", "exact_norm"):  # off is what settings mean that were written before them
            if not chosen.get(name):
                chosen.pop(name, None)
        return {"name": self.spec.name, "weights": self._checkpoint.identity, **chosen}

    @property
    def _random(self) -> bool:
        drawn = isinstance(self._checkpoint, RandomCheckpoint)
        return drawn or self.options.stochastic or self.options.noise == "forward"

    @cached_property
    def encoder(self) -> Encoder:
        """The U-Net's encoder half; its stages are loaded as deep as layers are requested."""

        def read(names: Collection[str]) -> dict[str, Tensor]:
            tensors = self._checkpoint.tensors("unet", names, dtype=self._dtype)
            return {name: tensor.to(self.device) for name, tensor in tensors.items()}

        one_token = self._texts is None or len(self._texts.names) == 1
        config = self._checkpoint.unet_config
        fused = bool(self.options.fused)
        return Encoder(config, read, one_token=one_token, compiled=self.options.compile, fused=fused)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """(L, H, W, 3) uint8 -> (L, 3, H', W') float32 in [-1, 1], on the device."""
        return self.inputs.preprocess(pixels)

    def encode(
        self,
        windows: WindowBatch,
        keys: Sequence[FeatureKey] | None = None,
        *,
        pixel_noise: Tensor | None = None,
        posterior_noise: Tensor | None = None,
    ) -> Encoded:
        """Latents, conditioning latents and embeddings of a batch of windows.

        Args:
            windows: The frames.
            keys: Features that are to be computed: only what they need is encoded. None: everything.
            pixel_noise: (B, L, 3, H, W) standard normal draws that are added, times 0.02, to the frames that
                are encoded for conditioning. None: drawn if `stochastic`, else no noise.
            posterior_noise: (B, L, 4, h, w) standard normal draws for the latents' posterior. None: drawn if
                `stochastic`, else the posterior's mean is taken.

        Raises:
            UsageError: If the VAE computes in half precision and its latents are not finite.
        """
        return self.inputs.encode(windows, keys, pixel_noise=pixel_noise, posterior_noise=posterior_noise)

    def is_encoded_again(self, identity: str, first_frame: int) -> bool:
        """See `EncodesAgain`."""
        return (identity, first_frame) in self.inputs.encoded_again

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled layers of a batch of windows; see `Backbone.maps`."""
        return self.maps_from(self.encode(windows, keys), keys)

    @torch.inference_mode()
    def maps_from(self, encoded: EncodedWindows, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Layers of windows that are encoded already, with one pass of the U-Net per timestep.

        Args:
            encoded: Result of `encode` for these keys or more.
            keys: Features to compute.

        Returns:
            Key -> (B, L, C, h, w). The taps `vae` (unscaled latents) and `clip` (h = w = 1) are the same at
            every timestep.
        """
        return self._outputs(encoded, keys, None)

    @torch.inference_mode()
    def pooled_from(self, encoded: EncodedWindows, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """As `maps_from`, but spatial means, (B, L, C) float32, each taken as soon as its layer is there."""
        return self._outputs(encoded, keys, spatial_mean)

    def _outputs(
        self,
        encoded: EncodedWindows,
        keys: Sequence[FeatureKey],
        reduce: Callable[[Tensor], Tensor] | None,
    ) -> dict[FeatureKey, Tensor]:
        assert isinstance(encoded, Encoded), f"SVD encodes windows to Encoded; got {type(encoded).__name__}"
        outputs: dict[FeatureKey, Tensor] = {}
        for timestep in sorted({key.timestep for key in keys}):
            taps = {key.layer for key in keys if key.timestep == timestep}
            for tap in taps & set(FREE_TAPS):
                free = _free_tap(encoded, tap)
                outputs[FeatureKey(timestep, tap)] = reduce(free) if reduce else free
            layers = {int(tap.removeprefix("layer")) for tap in taps - set(FREE_TAPS)}
            for layer, sample in self._pass(encoded, timestep, layers, reduce).items() if layers else ():
                outputs[FeatureKey.of(timestep, layer)] = sample
        return outputs

    def _pass(
        self,
        encoded: Encoded,
        timestep: int,
        layers: Collection[int],
        reduce: Callable[[Tensor], Tensor] | None,
    ) -> dict[int, Tensor]:
        """One pass of the U-Net's encoder half: layer -> (B, L, C, h, w).

        Latents are scaled in float32 and rounded once, which costs a relative error of 2e-4 in float16 and
        2e-3 in bfloat16; scaling in half precision would cost 5e-4 and 3e-3.
        """
        latents, conditioning = encoded.latents, encoded.conditioning
        assert latents is not None
        assert conditioning is not None
        # The input scaling and the time embedding may be set to other timesteps than the one that is asked
        # for.
        table = sigmas(self.num_timesteps)
        scale_at = timestep if self.options.sigma_scale is None else self.options.sigma_scale
        embed_at = timestep if self.options.sigma_embed is None else self.options.sigma_embed
        # Noise is added before the latents are scaled, as in the sampler.
        if encoded.noise is not None:
            latents = latents + table[timestep].to(latents) * encoded.noise
        scaled = latents * input_scale(table[scale_at]).to(latents)
        sample = torch.cat([scaled, conditioning], dim=2).flatten(0, 1).to(self._dtype)
        with float32_mode():
            embedding = self.encoder.embed(noise_condition(table[embed_at]), torch.tensor(ADDED))
            outputs = self.encoder(sample, embedding, self._context(encoded), layers, reduce)
        return {layer: value.unflatten(0, latents.shape[:2]) for layer, value in outputs.items()}

    def _context(self, encoded: Encoded) -> UNetContext:
        assert encoded.spatial is not None
        assert encoded.temporal is not None
        return UNetContext(
            encoded.spatial.flatten(0, 1).to(self._dtype),
            encoded.temporal.to(self._dtype),
            encoded.spatial.shape[1],
            self.options.temporal,
        )

    def extract(
        self,
        frames: Frames,
        *,
        timesteps: Sequence[int] | None = None,
        layers: Sequence[int | str] | None = None,
        maps: bool = False,
    ) -> Features:
        """Features of one video's frames; see `Backbone.extract`."""
        return extract(self, frames, timesteps=timesteps, layers=layers, maps=maps)


def _free_tap(encoded: Encoded, tap: str) -> Tensor:
    if tap == "vae":
        assert encoded.latents is not None
        return encoded.latents / LATENT_SCALE
    assert encoded.embeddings is not None
    return encoded.embeddings[..., None, None]


def load(spec: BackboneSpec, options: SVDOptions, weights: str | Path | None) -> SVD:
    """Load SVD from a checkpoint, or with seeded random weights if the spec says so.

    Raises:
        UsageError: If options contradict each other, or this machine cannot do what they ask.
        WeightsError: If the backbone needs weights and none are there, or they do not fit.
    """
    options = _settled(spec, options)
    if options.compile:
        check_compiler(options.device)
    checkpoint = _checkpoint(spec, options, weights)
    texts = _texts(options, checkpoint)
    if texts:
        options = options.model_copy(update={"actions": texts.names})
    return SVD(spec, options, checkpoint, texts)


def _checkpoint(spec: BackboneSpec, options: SVDOptions, weights: str | Path | None) -> SVDWeights:
    if spec.weights == "random" and weights is None:
        return RandomCheckpoint(spec.architecture, options.seed, shapes_only=options.device == "meta")
    if spec.name.startswith(RANDOM):
        raise UsageError(f"{spec.name} draws its weights from the seed; got weights {weights} too.")
    weights = weights or (_BUILT_IN / spec.name if spec.weights == "built-in" else find_weights(spec.name))
    if weights is None:
        raise WeightsError(
            f"{spec.name} needs weights: give weights= (--weights) the path of the published file, such as "
            f"{spec.name.replace('-', '_')}.safetensors, of a converted or diffusers folder, or a hub id; or "
            f"name a folder that holds them in {VARIABLE}. `actiondiff weights get {spec.name}` says where "
            "they are. The backbone 'tiny' needs none."
        )
    return open_checkpoint(
        str(weights),
        unet_head_dim=options.unet_head_dim,
        clip_head_dim=options.clip_head_dim,
        allow_unknown=options.allow_unknown,
    )


def _settled(spec: BackboneSpec, options: SVDOptions) -> SVDOptions:
    """Options with every value filled in, and with `conditioning` replaced by what it stands for."""
    if options.conditioning is not None:
        if options.embedding or options.latents:
            raise UsageError("give either conditioning or embedding and latents; got both.")
        embedding, latents = _SHORTHAND[options.conditioning]
        changes = {"embedding": embedding, "latents": latents, "conditioning": None}
        options = options.model_copy(update=changes)
    options = resolve(spec, options)
    half_on_cuda = options.device.startswith("cuda") and options.dtype != "float32"
    usual = "auto-float16" if half_on_cuda else "float32"
    vae_dtype = autoencoder_arithmetic(options.vae_dtype, default=usual, device=options.device)
    chunk = options.vae_chunk or default_vae_chunk(int(options.height or 1), int(options.width or 1))
    in_float32 = vae_dtype == "float32" and not options.compile
    exact = options.exact_norm and (in_float32 or options.device.startswith("cuda"))
    options = options.model_copy(update={"vae_dtype": vae_dtype, "vae_chunk": chunk, "exact_norm": exact})
    return options.model_copy(update={"fused": _runs_fused(options)})


def _runs_fused(options: SVDOptions) -> bool | None:
    """Whether half precision on CUDA runs fused; None where there is no such choice."""
    half = any(name and name.endswith("float16") for name in (options.dtype, options.vae_dtype))
    if not (options.device.startswith("cuda") and half and not options.compile):
        if options.fused:
            raise UsageError(
                "fused is for float16 and bfloat16 on CUDA, without compile; got device "
                f"{options.device}, dtype {options.dtype}. Leave it out (--no-fused)."
            )
        return None
    problem = None if options.fused is False else kernel_problem(options.device)
    if problem and options.fused:
        raise UsageError(
            f"fused does not work here ({problem}). Use --no-fused; results then differ by about 1e-3."
        )
    if problem:
        warn_once(f"fused kernels do not work here ({problem}); extraction takes about 2.5 times as long")
    return options.fused is not False and problem is None


def _texts(options: SVDOptions, checkpoint: SVDWeights) -> ActionTexts | None:
    """Names of actions that cross-attention is to see, for `embedding="text"`; else None."""
    # Options of text conditioning without it would have no effect, and are refused.
    set_options = [name for name in ("actions", "text_weights") if getattr(options, name) is not None]
    if options.embedding != "text":
        if set_options:
            raise UsageError(
                f"{' and '.join(set_options)} go with conditioning text; got embedding {options.embedding}. "
                "Add conditioning='text' (--conditioning text), or leave them out."
            )
        return None
    if options.actions is None:
        raise UsageError(
            "conditioning text needs actions= (--actions): names separated by commas, or a file."
        )
    folder = options.text_weights or find_weights(_TEXT)
    if folder is None:
        raise WeightsError(
            "conditioning text needs text_weights= (--text-weights): folder or hub id of the CLIP model that "
            "embeds the actions, for SVD laion/CLIP-ViT-H-14-laion2B-s32B-b79K; or name in "
            f"{VARIABLE} a folder that holds it as {_TEXT}/."
        )
    # The text tower has to embed in the width of the U-Net's cross-attention.
    texts = ActionTexts(folder, action_names(options.actions))
    width = checkpoint.unet_config["cross_attention_dim"]
    if texts.width != width:
        raise WeightsError(
            f"{folder} embeds text in {texts.width} numbers; the U-Net's cross-attention takes {width}. "
            "Give the text tower of the CLIP model that the U-Net was trained with."
        )
    return texts
