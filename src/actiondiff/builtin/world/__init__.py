"""The procedural world: rendered videos of creatures whose species, action, place and viewpoint are known."""
