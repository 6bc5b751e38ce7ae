"""What is learned: one LightningModule a task."""
