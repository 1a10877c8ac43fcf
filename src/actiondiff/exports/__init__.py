"""Export of predictions to the formats that other programs read."""
