"""Features on disk: written once, read by everything after."""
