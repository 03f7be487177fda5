"""Benchmarks: every operation and the whole search step beside peers and references, as ratios of medians.

Each is a module with `main(arguments)`, run by `modnas-fast bench NAME` or `python bench/NAME.py`. Peers and ours take
turns in one process, after a check that they agree; results are JSON with sizes, versions, machine and commit.
"""
