"""Weights on disk, in whatever form they were published, under one set of names."""
