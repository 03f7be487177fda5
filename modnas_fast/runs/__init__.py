"""One run from its configuration to its folder: stages, what is kept of them, resume."""
