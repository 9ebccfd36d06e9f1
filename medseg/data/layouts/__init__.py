"""Readers of the layouts that data sets come in, one small file each; `medseg.data.catalogue` lists them."""
