"""Searches for hyperparameters: the space, the study, how it samples, prunes, stops and reports."""
