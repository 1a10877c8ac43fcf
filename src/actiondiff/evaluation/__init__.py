"""What a prediction is worth: scores, the floor a guess reaches, and intervals."""
