"""Pre-training of the built-in backbone on unlabelled clips: an autoencoder and a video diffusion model."""
