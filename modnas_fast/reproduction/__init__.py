"""Reproduction of the paper's experiments on tabular benchmarks: trials, their plan, and the page's content."""
