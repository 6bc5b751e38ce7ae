"""How it is trained: optimizers, schedules, trainer and callbacks."""
