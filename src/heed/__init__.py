"""Heed: an experiment framework for NLP. One command line, one Transformer, every task."""

__version__ = "0.1.0"
