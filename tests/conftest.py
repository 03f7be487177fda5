"""Settings of all tests."""

from hypothesis import settings

# A busy machine is no failure: what a property costs is not what its test is about.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
