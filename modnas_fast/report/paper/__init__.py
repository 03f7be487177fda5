"""The figures of a finished folder as vector files for a paper: what the pages show, a column wide."""
