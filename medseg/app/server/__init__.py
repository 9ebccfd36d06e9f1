"""Uploads, settings, programs' endpoints: what the server takes and gives."""
