"""Frozen networks that turn windows of video frames into features, found by name."""
