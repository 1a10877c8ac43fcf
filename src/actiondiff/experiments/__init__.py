"""Studies and sweeps: recipes, training with evaluation, selection, and their tables."""
