"""Results for people to read: HTML pages, tables, csv, numbers in words. One of each."""
