"""Named starting points of a configuration."""

from __future__ import annotations

from typing import Any

#: what stands for `task.data` in a preset that wants images of one's own: a search without them is refused
OWN_IMAGES = None

#: What each changes of the defaults; `task.data` is OWN_IMAGES where the digits would be no answer.
PRESETS: dict[str, dict[str, Any]] = {
    # narrow networks and augmentation make larger cells worth their cost on this easy task; a large validation part
    # tells their errors apart
    "digits": {
        "space": {"channels": 6},
        "task": {"fractions": [0.3, 0.5, 0.2], "augment": True},
        "search": {"warmup_steps": 1500, "steps": 400},
    },
    "images": {"task": {"data": OWN_IMAGES}},
    "cifar10-small": {
        "task": {"data": OWN_IMAGES, "limit": 4000, "test_limit": 1000, "resize": 16, "augment": True},
        "search": {"threads": None, "warmup_steps": 1000, "steps": 300, "refine_networks": 400},
    },
    # a language model for a CPU, on the embedded texts, whose tokens are bytes
    "gpt-small": {
        "objectives": ["perplexity", "latency"],
        "space": {"name": "gpt"},
        "task": {"kind": "language", "data": "python-topics", "fractions": [0.94, 0.02, 0.04]},
        "search": {
            "warmup_steps": 400,
            "steps": 150,
            "refine_steps": 200,
            "refine_networks": 160,
            "batch_size": 16,
            "weight_optimizer": "adamw",
            "weight_learning_rate": 3e-3,
            "weight_decay": 0.1,
            "gradient_clip": 1.0,
            "weight_warmup": 0.05,
            "sandwich": True,
            "evaluations": 4,
        },
        "verify": {
            "networks": 2,
            "epochs": 2,
            "batch_size": 16,
            "optimizer": "adamw",
            "learning_rate": 3e-3,
            "weight_decay": 0.1,
        },
    },
    # GPTs on HW-GPT-Bench's 10,000 measured networks: as nb201 below
    "hw-gpt-bench": {
        "objectives": ["perplexity", "energy"],
        "space": {"name": "gpt", "scale": "s"},
        "task": {"kind": "language", "source": "surrogate", "table": "openwebtext"},
        "devices": {"table": "hw-gpt-bench", "networks": 500},
        "predictor": {"kind": "detailed", "steps": 1500, "learning_rate": 5e-3},
        "hypernetwork": {"intervals": 51},
        "scalarization": {"task_tail": 0.001, "mu": 0.01},
        "search": {"warmup_steps": 0, "steps": 200, "refine_steps": 600, "refine_networks": 40_000},
    },
    # MobileNetV3s on HELP's 5,000 measured networks: as nb201 below
    "ofa-help": {
        "space": {"name": "mobilenetv3", "scale": "published"},
        "task": {"source": "surrogate", "table": "imagenet"},
        "devices": {"table": "ofa-help", "networks": 900},
        "predictor": {"kind": "detailed", "steps": 1500, "learning_rate": 5e-3},
        "hypernetwork": {"intervals": 51},
        "scalarization": {"task_tail": 0.001, "mu": 0.01},
        "search": {"warmup_steps": 0, "steps": 200, "refine_steps": 600, "refine_networks": 40_000},
    },
    # a translator for a CPU, of pairs of sentences of one's own; tokens are byte pairs of both languages
    "hat-small": {
        "objectives": ["loss", "latency"],
        "space": {"name": "hat"},
        "task": {
            "kind": "translation",
            "data": OWN_IMAGES,
            "vocabulary": 2000,
            "context": 48,
            "fractions": [0.94, 0.03, 0.03],
        },
        # for a quarter of an hour on two cores, of which docs/hat.md has the parts
        "devices": {"formats": ["float32"], "minutes": 3.0},
        "search": {
            "threads": None,
            "warmup_steps": 800,
            "steps": 60,
            "refine_steps": 150,
            "refine_networks": 64,
            "batch_size": 32,
            "weight_optimizer": "adamw",
            "weight_learning_rate": 3e-3,
            "weight_warmup": 0.1,
            "weight_decay": 0.01,
            "gradient_clip": 1.0,
            "evaluations": 1,
        },
        "evaluation": {"measured": 100},
        "verify": {"networks": 1, "epochs": 3, "optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01},
    },
    # translators on HAT's published latencies and a judge of BLEU: as nb201 below
    "hat": {
        "objectives": ["bleu_loss", "latency"],
        "space": {"name": "hat", "scale": "space0"},
        "task": {"kind": "translation", "source": "surrogate", "table": "wmt14-ende"},
        "devices": {"table": "hat", "networks": 500},
        "predictor": {"kind": "detailed", "steps": 1500, "learning_rate": 5e-3},
        "hypernetwork": {"intervals": 51},
        "scalarization": {"task_tail": 0.001, "mu": 0.01},
        "search": {"warmup_steps": 0, "steps": 200, "refine_steps": 600, "refine_networks": 40_000},
    },
    # photos on a CPU: MobileNetV3s of half the usual width at 48 to 96 pixels
    "mobilenet-small": {
        "space": {"name": "mobilenetv3"},
        "task": {"data": OWN_IMAGES, "augment": "photos", "fractions": [0.7, 0.12, 0.18]},
        "devices": {"formats": ["float32"], "minutes": 4.0},
        "search": {
            "threads": None,
            "warmup_steps": 1600,
            "steps": 60,
            "refine_steps": 150,
            "refine_networks": 240,
            "batch_size": 32,
            "weight_learning_rate": 0.1,
            "weight_warmup": 0.05,
            "sandwich": True,
            "evaluations": 1,
            "checkpoint_every": 10,
        },
        "evaluation": {"statistics_samples": 128},
        "verify": {"networks": 1, "epochs": 20},
    },
    # searches on tables: nothing is measured or trained but the predictor and Φ
    "nb201": {
        "space": {"channels": 16, "cells": 5, "reduction": "residual"},
        "task": {"source": "surrogate", "table": "cifar10"},
        "devices": {"table": "help", "networks": 900},
        "predictor": {"kind": "graph", "hidden": 48, "steps": 1500, "learning_rate": 5e-3},
        "hypernetwork": {"intervals": 51},
        "scalarization": {"task_tail": 0.001},
        "search": {"warmup_steps": 0, "steps": 100, "refine_steps": 500, "refine_networks": 20_000},
    },
    # the same with shared weights trained on CIFAR-10, and no true error read
    "nb201-supernet": {
        "space": {"channels": 16, "cells": 5, "reduction": "residual"},
        "task": {"data": OWN_IMAGES, "augment": True, "table": "cifar10"},
        "devices": {"table": "help", "networks": 900},
        "predictor": {"kind": "graph", "hidden": 48, "steps": 1500, "learning_rate": 5e-3},
        "hypernetwork": {"intervals": 51},
        "search": {"warmup_steps": 6900, "steps": 2900, "batch_size": 256, "threads": None},
    },
    # what the paper and its published code do; see docs/nb201.md for each switch
    "nb201-paper": {
        "space": {"channels": 16, "cells": 5, "reduction": "residual", "entangled": True, "affine": True},
        "task": {
            "data": OWN_IMAGES,
            "source": "supernet",
            "table": "cifar10",
            "fractions": [0.5, 0.5, 0.0],
            "augment": True,
        },
        "devices": {"table": "help", "networks": 900},
        "predictor": {"kind": "plain_graph", "steps": 3000, "learning_rate": 1e-3},
        "hypernetwork": {"intervals": 101, "interpolate": False},
        "architect": {"kind": "reinmax", "entropy_start": 0.0, "gradient": "published"},
        "scalarization": {"kind": "cosine", "penalty": 0.001, "detach_penalty": True, "normalize": False},
        "search": {
            "warmup_steps": 0,
            "steps": 9800,
            "refine_steps": 0,
            "spread_share": 0.0,
            "batch_size": 256,
            "weight_learning_rate": 0.325,
            "weight_decay": 0.0027,
            "hyper_learning_rate": 0.0039,
            "hyper_weight_decay": 0.09,
            "viability": False,
            "threads": None,
        },
    },
}
