"""Reports: pages, figures, tables and model cards that show results to a person."""
