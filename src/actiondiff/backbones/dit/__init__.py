"""Video diffusion transformers (Wan, LTX-Video, CogVideoX) as frozen backbones, on diffusers' own classes."""
