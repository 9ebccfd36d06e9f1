"""Images, text, charts and tables of a view state."""
