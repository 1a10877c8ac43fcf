"""Frozen networks that turn windows of video frames into features, found by name.

The folder `builtin/` holds the weights that come with the package; the code that made them is
`actiondiff.builtin`.
"""
