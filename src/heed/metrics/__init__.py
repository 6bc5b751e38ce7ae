"""Scores as torchmetrics, thin over the field's own scorers."""
