"""Thousands of mutated signatures, judged by cosign and by Assay; every difference must be one that we can explain.

  run.py              the order of things; start here
  seeds.py            signed images that others made (ASSAY_E2E_SEEDS), and what is asked about each
  image.py            an image with all that carries its signatures, in memory
  signing.py          seeds signed again with a key of ours, so that what is signed can be mutated too
  spots.py            the documents and texts inside an image that can be changed
  mutations/          the ways to change them, each by its name
  layout_registry.py  serves the mutated images, each in a repository of its own
  judges.py           asks cosign and Assay
  classes.py          the differences that are on purpose, with the reason for each
"""
