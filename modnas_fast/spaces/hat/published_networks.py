"""The 17 networks for WMT14 En-De that HAT published, each found for one device: facts of its README and its YAML."""

from __future__ import annotations

from typing import NamedTuple


class PublishedNetwork(NamedTuple):
    """A network as HAT trained and measured it."""

    #: whose latency it was searched for
    device: str
    latency_ms: float
    #: of newstest2014, tokenised
    bleu: float
    architecture: str


NETWORKS = (
    PublishedNetwork(
        "cpu_raspberrypi",
        3500.0,
        25.8,
        "e512_f1024.3072.3072.2048.2048.2048_h4.8.4.4.4.8_d512_f3072_h8_x8_r1",
    ),
    PublishedNetwork(
        "cpu_raspberrypi",
        4000.0,
        26.9,
        "e512_f3072.2048.3072.2048.3072.2048_h8.8.8.4.8.8_d512_f1024.2048_h4.4_x8.8_r1.1",
    ),
    PublishedNetwork(
        "cpu_raspberrypi",
        4500.0,
        27.6,
        "e512_f3072.3072.3072.3072.3072.3072_h4.8.8.4.8.8_d512_f3072.3072_h8.8_x8.8_r1.2",
    ),
    PublishedNetwork(
        "cpu_raspberrypi",
        5000.0,
        27.8,
        "e512_f3072.3072.3072.2048.3072.3072_h8.8.8.8.8.4_d512_f1024.2048.3072_h4.8.8_x4.8.8_r1.2.1",
    ),
    PublishedNetwork(
        "cpu_raspberrypi",
        6000.0,
        28.2,
        "e512_f3072.3072.3072.3072.3072.3072_h4.4.4.8.8.4_d512_f2048.2048.3072.3072_h4.8.8.4_x4.8.8.8_r1.1.2.1",
    ),
    PublishedNetwork(
        "cpu_raspberrypi",
        6900.0,
        28.4,
        "e512_f3072.3072.3072.3072.3072.3072_h8.4.8.8.8.8_d512_f2048.2048.3072.3072.2048_h8.8.8.4.8_x4.8.8.8.8_r1.2.2.2.1",
    ),
    PublishedNetwork("gpu_titanxp", 57.1, 25.8, "e512_f3072.3072.3072.3072.3072.3072_h4.8.8.8.8.8_d512_f3072_h8_x8_r2"),
    PublishedNetwork(
        "gpu_titanxp",
        91.2,
        27.6,
        "e512_f3072.3072.3072.3072.3072.3072_h4.8.8.4.8.8_d512_f3072.3072_h8.8_x8.8_r1.2",
    ),
    PublishedNetwork(
        "gpu_titanxp",
        126.0,
        27.9,
        "e512_f3072.3072.3072.3072.3072.3072_h4.4.8.8.8.4_d512_f3072.3072.3072_h8.8.8_x4.8.8_r1.2.2",
    ),
    PublishedNetwork(
        "gpu_titanxp",
        146.7,
        28.1,
        "e640_f3072.3072.3072.3072.3072.3072_h4.8.8.8.4.4_d640_f3072.3072.3072_h8.8.8_x4.8.8_r1.2.2",
    ),
    PublishedNetwork(
        "gpu_titanxp",
        208.1,
        28.5,
        "e512_f3072.3072.3072.3072.3072.3072_h8.4.8.8.8.4_d512_f2048.2048.3072.3072.3072_h8.8.8.4.8_x4.8.8.8.8_r1.2.2.2.1",
    ),
    PublishedNetwork("cpu_xeon", 137.9, 25.8, "e512_f3072.3072.3072.3072.3072.3072_h4.8.8.8.8.8_d512_f3072_h8_x8_r2"),
    PublishedNetwork(
        "cpu_xeon",
        204.2,
        27.6,
        "e512_f3072.3072.3072.3072.3072.3072_h4.8.8.4.8.8_d512_f3072.3072_h8.8_x8.8_r1.2",
    ),
    PublishedNetwork(
        "cpu_xeon",
        278.7,
        27.9,
        "e512_f3072.3072.3072.3072.3072.3072_h4.4.8.8.8.4_d512_f3072.3072.3072_h8.8.8_x4.8.8_r1.2.2",
    ),
    PublishedNetwork(
        "cpu_xeon",
        340.2,
        28.1,
        "e512_f3072.3072.3072.3072.3072.3072_h4.4.8.8.8.4_d512_f3072.3072.3072.3072_h8.8.8.4_x4.8.8.8_r1.2.2.1",
    ),
    PublishedNetwork(
        "cpu_xeon",
        369.6,
        28.2,
        "e512_f3072.3072.3072.3072.3072.3072_h8.4.8.8.8.4_d512_f3072.3072.3072.3072.3072_h8.8.8.4.8_x4.8.8.8.8_r1.2.2.2.1",
    ),
    PublishedNetwork(
        "cpu_xeon",
        450.9,
        28.5,
        "e512_f3072.3072.3072.3072.3072.3072_h4.4.8.8.8.4_d512_f3072.3072.3072.3072.3072.3072_h8.8.8.4.4.4_x4.8.8.8.8.8_r1.2.2.2.1.1",
    ),
)
