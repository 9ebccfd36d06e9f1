"""Scores beside floors, and the reports of them."""
