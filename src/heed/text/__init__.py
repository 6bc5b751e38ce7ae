"""Tokenizers: train, load, save, fingerprint."""
