"""Checkpoints of the Hugging Face ecosystem in and out of the backbone, one file a family.

A family is a mapping of names and values onto the one Transformer; no model code but the backbone's
is ever run.
"""
