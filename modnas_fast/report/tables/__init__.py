"""Tidy tables of a finished folder, from its JSON alone: one record per fact, columns as docs/tables.md has them."""
