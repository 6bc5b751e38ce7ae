"""What happens around the training steps: checkpoints, stops, measurements, samples, progress."""
