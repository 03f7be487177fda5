"""The report of a run: what its files hold, what the page shows of it, its figures and plots."""
