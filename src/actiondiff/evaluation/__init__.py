"""Evaluation: splits of a table, scores of predictions, their floors and intervals, and comparisons."""
