"""Running a frozen backbone: windows in batches, pooled into features."""
