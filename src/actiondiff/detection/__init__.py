"""A detector of animals: where in a video they are, for crops."""
