"""How far to believe an answer."""
