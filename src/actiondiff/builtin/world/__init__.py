"""The procedural world of creatures: known actions, in domains that can be chosen."""
