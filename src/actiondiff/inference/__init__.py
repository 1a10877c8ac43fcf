"""Inference with a trained model: predictions, timelines and heatmaps of videos."""
