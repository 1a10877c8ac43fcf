"""Weights on disk, read under one set of names whatever form they were published in."""
