"""Stable Video Diffusion as a frozen backbone."""
