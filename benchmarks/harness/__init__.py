"""What every benchmark here shares: loops that take turns, results, the machine, the data."""
