"""Devices: what they are, and how this machine becomes several of them."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
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

# not at once: what asks a finished run for a device loads no torch
__getattr__ = names_from(
    __name__,
    {
        "Campaign": "modnas_fast.devices.campaign",
        "Device": "modnas_fast.devices.device",
        "Fingerprint": "modnas_fast.devices.machine",
        "Latencies": "modnas_fast.devices.campaign",
        "MachineCosts": "modnas_fast.devices.machine_costs",
        "Measurement": "modnas_fast.devices.measure",
        "MeasurementCache": "modnas_fast.devices.cache",
        "Metric": "modnas_fast.devices.metric",
        "Profiler": "modnas_fast.devices.profile",
        "Setting": "modnas_fast.devices.machine",
        "embeddings": "modnas_fast.devices.device",
        "fingerprint": "modnas_fast.devices.machine",
        "machine_settings": "modnas_fast.devices.machine",
        "plan_campaign": "modnas_fast.devices.campaign",
        "threads_restored": "modnas_fast.devices.measure",
    },
)
