"""From videos to a filled feature store."""
