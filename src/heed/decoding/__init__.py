"""Greedy search, beam search and sampling over a step function; knows no task."""
