"""Labelled clips: tables, folders, and their features as tensors."""
