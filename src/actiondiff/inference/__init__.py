"""A trained model at work: predictions, timelines and heatmaps of a video."""
