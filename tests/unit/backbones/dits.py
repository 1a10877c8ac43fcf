"""Video diffusion transformers, small, with the names and classes of the published ones."""

from typing import Any

TEXT = {"d_model": 16, "d_ff": 24, "d_kv": 8, "num_heads": 2, "num_layers": 2, "vocab_size": 40,
        "feed_forward_proj": "gated-gelu"}  # fmt: skip
FLOW = {"num_train_timesteps": 1000, "prediction_type": "flow_prediction"}

WAN: dict[str, Any] = {
    "transformer": {
        "_class_name": "WanTransformer3DModel", "num_attention_heads": 2, "attention_head_dim": 16,
        "in_channels": 4, "out_channels": 4, "text_dim": 16, "freq_dim": 16, "ffn_dim": 48, "num_layers": 3,
        "eps": 1e-6, "patch_size": [1, 2, 2],
    },
    "vae": {
        "base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1,
        "temperal_downsample": [True, True], "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [1.0, 2.0, 0.5, 1.5],
    },
    "text_encoder": {"model_type": "umt5", **TEXT},
    "prompt": {"tokens": 1, "visible": 1, "padded": 6},
    "scheduler": FLOW,
}  # fmt: skip
LTX: dict[str, Any] = {
    "transformer": {
        "_class_name": "LTXVideoTransformer3DModel", "num_attention_heads": 2, "attention_head_dim": 16,
        "in_channels": 8, "out_channels": 8, "cross_attention_dim": 32, "num_layers": 3,
        "caption_channels": 16, "norm_eps": 1e-6,
    },
    "vae": {
        "latent_channels": 8, "block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8],
        "down_block_types": ["LTXVideoDownBlock3D"] * 2, "layers_per_block": [1, 1, 1],
        "decoder_layers_per_block": [1, 1, 1], "spatio_temporal_scaling": [True, False],
        "decoder_spatio_temporal_scaling": [True, False], "decoder_inject_noise": [False] * 3,
        "downsample_type": ["conv"] * 2, "upsample_residual": [False] * 2, "upsample_factor": [1, 1],
        "patch_size": 4, "patch_size_t": 1, "scaling_factor": 0.7,
    },
    "text_encoder": {"model_type": "t5", **TEXT},
    "prompt": {"tokens": 7, "visible": 1, "padded": 1},
    "scheduler": FLOW,
}  # fmt: skip
COGVIDEOX: dict[str, Any] = {
    "transformer": {
        "_class_name": "CogVideoXTransformer3DModel", "num_attention_heads": 2, "attention_head_dim": 16,
        "in_channels": 4, "out_channels": 4, "time_embed_dim": 8, "text_embed_dim": 16, "num_layers": 3,
        "sample_width": 6, "sample_height": 4, "sample_frames": 9, "patch_size": 2, "max_text_seq_length": 5,
    },
    "vae": {
        "block_out_channels": [8, 8, 8], "down_block_types": ["CogVideoXDownBlock3D"] * 3,
        "up_block_types": ["CogVideoXUpBlock3D"] * 3, "latent_channels": 4, "layers_per_block": 1,
        "norm_num_groups": 4, "temporal_compression_ratio": 4, "scaling_factor": 1.3,
    },
    "text_encoder": {"model_type": "t5", **TEXT},
    "prompt": {"tokens": 5, "visible": 5, "padded": 5},
    "scheduler": {
        "num_train_timesteps": 1000, "prediction_type": "v_prediction", "beta_start": 0.00085,
        "beta_end": 0.012, "beta_schedule": "scaled_linear", "snr_shift_scale": 3.0,
        "rescale_betas_zero_snr": True,
    },
}  # fmt: skip
SMALL_DITS: dict[str, dict[str, Any]] = {
    "wan21": {"architecture": WAN, "defaults": {"height": 16, "width": 24, "window": 8, "batch": 2}},
    "ltx-video": {"architecture": LTX, "defaults": {"height": 16, "width": 24, "window": 4, "batch": 2}},
    "cogvideox-2b": {
        "architecture": COGVIDEOX,
        "defaults": {"height": 16, "width": 24, "window": 8, "batch": 2},
    },
}
"""Name of a backbone -> what makes it small; layers are `layer1` to `layer3`."""
