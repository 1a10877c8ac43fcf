"""The built-in default: a drawn world, the backbone that was trained on it, and the demo."""
