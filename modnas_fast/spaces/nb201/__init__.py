"""NAS-Bench-201: its choices, standalone network, supernet, and published tables."""
