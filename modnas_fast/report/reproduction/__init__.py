"""The report of a reproduction: what its file holds, what the page shows of it, its figures and plots."""
