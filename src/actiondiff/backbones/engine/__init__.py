"""Runs a frozen backbone over videos: windows pass in batches and are pooled into features."""
