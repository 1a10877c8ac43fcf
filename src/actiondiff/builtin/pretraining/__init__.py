"""How the built-in backbone was made: an autoencoder, then a video diffusion model, on unlabelled clips."""
