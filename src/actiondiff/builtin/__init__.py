"""What ActionDiff comes with: a procedural world, the backbone trained on it, and the demo."""
