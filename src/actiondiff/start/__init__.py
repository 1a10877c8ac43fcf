"""From a folder of videos and some labels to a verdict: what `actiondiff start` decides and compares."""
