"""The one Transformer, in plain PyTorch."""
