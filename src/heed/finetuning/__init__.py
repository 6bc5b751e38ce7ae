"""How a model that has weights is trained further: what of it, how fast, and with what added."""
