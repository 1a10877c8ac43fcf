"""What commands print: tables, summaries, and the progress of long work."""
