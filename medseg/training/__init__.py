"""Training: of one member, of a stacker over several, and of whole studies. Nothing of the library imports it."""
