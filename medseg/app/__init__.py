"""The page: what visitors have open (state), how it is drawn (render), tabs, and server. Nothing else imports it."""
