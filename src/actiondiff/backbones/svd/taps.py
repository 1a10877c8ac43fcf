"""The encoder half of SVD's U-Net, run stage by stage up to the deepest requested layer.

One pass gives all of `layer1` .. `layer13` (in the original code the 12 input blocks and the middle block; in
diffusers the residual samples of the down blocks and the mid block). The modules are diffusers' own. The loop
over them is ours, because diffusers' own forward shares one image embedding among all frames, cannot stop
early, and computes cross-attention to a single token, whose softmax is 1, as if it depended on the query.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn

from actiondiff.backbones.svd.fused import Activation, apply_stage, fits
from actiondiff.backbones.svd.modules import build_unet

__all__ = ["GROUP_NORM_EPS", "NUM_LAYERS", "Encoder", "UNetContext", "apply_module", "stages_of"]

NUM_LAYERS = 13
_MOST_SEQUENCES = 2**15  # kernels count sequences in 16 bits; cuDNN's backward pass fails beyond
GROUP_NORM_EPS = 1e-5  # of the original code; diffusers builds the cross-attention blocks' resnets with 1e-6


@dataclass(frozen=True)
class UNetContext:
    """What the U-Net is conditioned on; the same at every stage.

    Attributes:
        spatial: (B L, n, D) tokens that the spatial cross-attention of each frame sees.
        temporal: (B, n, D) tokens that temporal cross-attention sees.
        num_frames: Number of frames per window, L.
        run_temporal: Whether the temporal modules run.
    """

    spatial: Tensor
    temporal: Tensor
    num_frames: int
    run_temporal: bool = True


class Encoder(nn.Module):
    """conv_in, down blocks and mid block of SVD's U-Net, with weights loaded as deep as they are needed.

    Args:
        config: Arguments of `diffusers.UNetSpatioTemporalConditionModel`.
        read: `read(names)` returns the tensors with these names of diffusers, in the dtype and on the device
            to compute with.
        one_token: Whether cross-attention always sees a single token. Its query, key and norm weights then
            have no influence and are neither read nor kept.
        compiled: Whether each stage is compiled when it first runs.
        fused: Whether `fused.py` computes the stages where it is meant for device and dtype.

    Attributes:
        fused: Whether `fused.py` computes the stages.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        read: Callable[[Collection[str]], Mapping[str, Tensor]],
        *,
        one_token: bool = True,
        compiled: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__()
        unet = build_unet(config)
        self.time_proj, self.add_time_proj = unet.time_proj, unet.add_time_proj
        self._read = read
        self._one_token = one_token
        self._compiled = compiled
        self.time_embedding = self._load(unet.time_embedding, "time_embedding")
        self.add_embedding = self._load(unet.add_embedding, "add_embedding")
        self._pending = stages_of(unet)
        self.stages = nn.ModuleList()
        weight: Tensor = next(self.time_embedding.parameters())
        self.fused = fused and fits(weight.device, weight.dtype)

    def _load(self, module: nn.Module, name: str) -> nn.Module:
        """Give a module on the meta device its weights; `name` is its name in diffusers' U-Net."""
        child: Any  # diffusers' modules have no types for their attributes
        for child in module.modules():
            if self._one_token and getattr(child, "attn2", None) is not None:
                child.norm2 = child.attn2.to_q = child.attn2.to_k = None
            if isinstance(child, SpatioTemporalResBlock):
                for norm in child.modules():
                    if isinstance(norm, nn.GroupNorm):
                        norm.eps = GROUP_NORM_EPS
        names = {f"{name}.{key}": key for key in module.state_dict()}
        tensors = self._read(names.keys())
        module.load_state_dict({key: tensors[full] for full, key in names.items()}, strict=True, assign=True)
        return module.requires_grad_(False).eval()

    def deepen(self, depth: int) -> None:
        """Load stages 1 .. depth, as far as they are not loaded yet."""
        while len(self.stages) < depth:
            stage = EncoderStage(self._load(module, name) for name, module in self._pending.pop(0))
            if self._compiled:
                stage.compile(dynamic=False)
            self.stages.append(stage)

    def embed(self, noise_condition: Tensor, added: Tensor) -> Tensor:
        """(1, E) embedding of the noise level (a scalar) and the added values (fps, motion, augmentation).

        The sinusoids are computed in float32: in half precision the motion bucket's, whose angles go up to
        127, would be off by 7e-3 in float16 and 6e-2 in bfloat16; rounded afterwards, by 2e-4 and 1e-3.

        Source: method section of SVD: one vector, the same for all frames.
        """
        weight: Tensor = next(self.time_embedding.parameters())
        time = self.time_proj(noise_condition.reshape(1).to(weight.device)).to(weight.dtype)
        extra = self.add_time_proj(added.to(weight.device)).reshape(1, -1).to(weight.dtype)
        embedded: Tensor = self.time_embedding(time) + self.add_embedding(extra)
        return embedded

    def forward(
        self,
        sample: Tensor,
        embedding: Tensor,
        context: UNetContext,
        layers: Collection[int],
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """Outputs of the requested layers.

        Args:
            sample: (B L, 8, h, w): scaled latents and conditioning latents.
            embedding: (1, E) from `embed`.
            context: What the U-Net is conditioned on.
            layers: Numbers in 1 .. 13; the pass ends after the largest.
            reduce: Applied to each output as soon as it is there, so that it need not stay in memory.

        Returns:
            Layer -> (B L, C, h', w'), or what `reduce` makes of it.
        """
        self.deepen(max(layers))
        if self.fused:
            return self._run_fused(sample, embedding, context, layers, reduce)
        embedding = embedding.expand(len(sample), -1)
        outputs = {}
        for number, stage in enumerate(self.stages[: max(layers)], start=1):
            sample = stage(sample, embedding, context)
            if number in layers:
                outputs[number] = reduce(sample) if reduce else sample
        return outputs

    def _run_fused(
        self,
        sample: Tensor,
        embedding: Tensor,
        context: UNetContext,
        layers: Collection[int],
        reduce: Callable[[Tensor], Tensor] | None,
    ) -> dict[int, Tensor]:
        value, outputs = Activation.of(sample), {}
        for number, stage in enumerate(self.stages[: max(layers)], start=1):
            value = apply_stage(stage, value, embedding, context)
            if number in layers:
                outputs[number] = reduce(value.images) if reduce else value.images
        return outputs


class EncoderStage(nn.ModuleList):
    """Modules of one layer: one to three of diffusers' modules, run one after the other."""

    def forward(self, sample: Tensor, embedding: Tensor, context: UNetContext) -> Tensor:
        """(B L, C, h, w) -> (B L, C', h', w'); arguments as of `apply_module`."""
        for module in self:
            sample = apply_module(module, sample, embedding, context)
        return sample


def stages_of(unet: UNetSpatioTemporalConditionModel) -> list[list[tuple[str, nn.Module]]]:
    """The 13 stages in order, each a list of (name in diffusers' U-Net, module)."""
    stages: list[list[tuple[str, nn.Module]]] = [[("conv_in", unet.conv_in)]]
    for b, block in enumerate(unet.down_blocks):
        attentions = getattr(block, "attentions", None)
        for r, resnet in enumerate(block.resnets):
            stage = [(f"down_blocks.{b}.resnets.{r}", resnet)]
            if attentions is not None:
                stage.append((f"down_blocks.{b}.attentions.{r}", attentions[r]))
            stages.append(stage)
        if block.downsamplers is not None:
            stages.append([(f"down_blocks.{b}.downsamplers.0", block.downsamplers[0])])
    mid = unet.mid_block
    stages.append(
        [
            ("mid_block.resnets.0", mid.resnets[0]),
            ("mid_block.attentions.0", mid.attentions[0]),
            ("mid_block.resnets.1", mid.resnets[1]),
        ]
    )
    return stages


def apply_module(module: nn.Module, sample: Tensor, embedding: Tensor, context: UNetContext) -> Tensor:
    """One of diffusers' modules on (B L, C, h, w), with an embedding (B L, E) of each frame's noise level."""
    if isinstance(module, SpatioTemporalResBlock):
        return _resnet(module, sample, embedding, context)
    if isinstance(module, TransformerSpatioTemporalModel):
        return _transformer(module, sample, context)
    plain: Tensor = module(sample)
    return plain


def _resnet(block: SpatioTemporalResBlock, sample: Tensor, embedding: Tensor, context: UNetContext) -> Tensor:
    """Spatial residual block, then the temporal one blended in."""
    spatial: Tensor = block.spatial_res_block(sample, embedding)
    if not context.run_temporal:
        return spatial
    L = context.num_frames
    video = spatial.unflatten(0, (-1, L)).transpose(1, 2)  # (B, C, L, h, w)
    temporal = block.temporal_res_block(video, embedding.unflatten(0, (-1, L)))
    alpha = block.time_mixer.mix_factor.sigmoid()
    return (alpha * video + (1 - alpha) * temporal).transpose(1, 2).flatten(0, 1)


def _transformer(model: TransformerSpatioTemporalModel, sample: Tensor, context: UNetContext) -> Tensor:
    """Spatial transformer block over h w tokens, then the temporal one over L tokens blended in."""
    N, C, h, w = sample.shape
    tokens = model.norm(sample).permute(0, 2, 3, 1).reshape(N, h * w, C)
    tokens = model.proj_in(tokens)
    for block, temporal_block in zip(
        model.transformer_blocks, model.temporal_transformer_blocks, strict=True
    ):
        tokens = tokens + block.attn1(block.norm1(tokens))
        tokens = tokens + _cross_attention(block, tokens, context.spatial)
        tokens = tokens + block.ff(block.norm3(tokens))
        if context.run_temporal:
            mixed = _temporal(model, temporal_block, tokens, context)
            alpha = model.time_mixer.mix_factor.sigmoid()
            tokens = alpha * tokens + (1 - alpha) * mixed
    tokens = model.proj_out(tokens)
    return tokens.reshape(N, h, w, C).permute(0, 3, 1, 2).contiguous() + sample


def _temporal(
    model: TransformerSpatioTemporalModel, block: Any, tokens: Tensor, context: UNetContext
) -> Tensor:
    """The temporal transformer block: (B L, P, C) -> (B L, P, C); attention over L at each of P positions."""
    L = context.num_frames
    positions = model.time_proj(torch.arange(L, device=tokens.device)).to(tokens.dtype)
    sequences = tokens.unflatten(0, (-1, L)) + model.time_pos_embed(positions)[:, None]  # (B, L, P, C)
    B, _, P, C = sequences.shape
    x = sequences.transpose(1, 2).reshape(B * P, L, C)
    x = x + block.ff_in(block.norm_in(x))
    x = x + _attend_frames(block.attn1, block.norm1(x))
    x = x + _cross_attention(block, x, context.temporal)
    x = x + block.ff(block.norm3(x))
    return x.reshape(B, P, L, C).transpose(1, 2).reshape(B * L, P, C)


def _attend_frames(attention: Any, x: Tensor) -> Tensor:
    """Self-attention of (N, L, C) tokens, on CUDA in parts of as many sequences as every kernel takes."""
    parts = x.split(_MOST_SEQUENCES) if x.is_cuda else (x,)
    attended: list[Tensor] = [attention(part) for part in parts]
    return attended[0] if len(attended) == 1 else torch.cat(attended)


def _cross_attention(block: Any, tokens: Tensor, context: Tensor) -> Tensor:
    """Cross-attention of (N P, S, C) tokens to (N, n, D) context, which P consecutive sequences share.

    With n = 1 the softmax is 1 whatever the query is: the result is W_o W_v e + b_o, computed once for all P.
    With n > 1 the queries of the P sequences pass as one sequence, since queries do not see each other. Keys
    and values are then computed once, not P times.
    """
    attention = block.attn2
    num_shared = len(tokens) // len(context)  # P
    if context.shape[1] == 1:
        constant: Tensor = attention.to_out[0](attention.to_v(context))  # (N, 1, C)
        return constant.repeat_interleave(num_shared, 0) if num_shared > 1 else constant
    queries = block.norm2(tokens).unflatten(0, (-1, num_shared)).flatten(1, 2)  # (N, P S, C)
    attended: Tensor = attention(queries, encoder_hidden_states=context)
    return attended.reshape(tokens.shape)
