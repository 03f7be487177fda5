"""The configuration of a run: one tree of validated models."""
