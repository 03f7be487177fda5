"""The stages of the method: hypernetwork, architect, preferences, scalarization, scales of the objectives."""
