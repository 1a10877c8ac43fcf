"""Frozen networks that turn windows of frames into features."""
