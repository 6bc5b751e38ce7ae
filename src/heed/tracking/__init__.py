"""What a run leaves behind: its record, its environment, its loggers."""
