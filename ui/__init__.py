"""The page's parts: what a visitor has open (session), what can be loaded (shelf), what is shown (views, words)."""
