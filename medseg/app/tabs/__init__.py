"""The tabs of the page: layout, and what each event does."""
