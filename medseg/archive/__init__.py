"""The hospital's archive over DICOMweb (PS3.18): find, fetch, store. The owner names it, never a visitor."""
