"""Devices: what they are, and how this machine becomes several of them."""

from modnas_fast.devices.cache import MeasurementCache
from modnas_fast.devices.campaign import Campaign, Latencies, plan_campaign
from modnas_fast.devices.device import Device, embeddings
from modnas_fast.devices.machine import Fingerprint, Setting, fingerprint, machine_settings
from modnas_fast.devices.machine_costs import MachineCosts
from modnas_fast.devices.measure import Measurement, threads_restored
from modnas_fast.devices.metric import Metric
from modnas_fast.devices.profile import Profiler

__all__ = [
    "Campaign",
    "Device",
    "Fingerprint",
    "Latencies",
    "MachineCosts",
    "Measurement",
    "MeasurementCache",
    "Metric",
    "Profiler",
    "Setting",
    "embeddings",
    "fingerprint",
    "machine_settings",
    "plan_campaign",
    "threads_restored",
]
