"""The configuration of a run: one tree of validated models, presets, and what is wrong with a wrong one."""

from modnas_fast.config.commented import commented_yaml
from modnas_fast.config.presets import PRESETS
from modnas_fast.config.section import Section, SpaceKeys
from modnas_fast.config.tree import (
    PATHS,
    PUBLISHED_TABLES,
    Config,
    PredictorConfig,
    VerifyConfig,
    find_choices,
    make_config,
    to_yaml,
    validate,
    with_absolute_paths,
)

__all__ = [
    "PATHS",
    "PRESETS",
    "PUBLISHED_TABLES",
    "Config",
    "PredictorConfig",
    "Section",
    "SpaceKeys",
    "VerifyConfig",
    "commented_yaml",
    "find_choices",
    "make_config",
    "to_yaml",
    "validate",
    "with_absolute_paths",
]
