"""Training: of one member, of a stacker over several, and of whole studies. The top floor; nothing below imports it."""
