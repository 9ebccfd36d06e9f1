"""The promises of RELIABILITY, tried: each row a fault, what must happen, how often it was tried, what came of it."""
