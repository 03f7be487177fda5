"""Devices: what they are, and how this machine becomes several of them."""

from modnas_fast.devices.cache import MeasurementCache
from modnas_fast.devices.device import Device, embeddings
from modnas_fast.devices.machine import Fingerprint, Setting, default_unseen, fingerprint, machine_settings
from modnas_fast.devices.measure import Measurement
from modnas_fast.devices.profile import Profiler

__all__ = [
    "Device",
    "Fingerprint",
    "Measurement",
    "MeasurementCache",
    "Profiler",
    "Setting",
    "default_unseen",
    "embeddings",
    "fingerprint",
    "machine_settings",
]
