"""From a finished run to files that are deployed: weights, fine-tuning, formats and their checks."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.deployment.classifier import Classifier
    from modnas_fast.deployment.deploying import Deployment, deploy

__all__ = ["Classifier", "Deployment", "deploy"]

__getattr__ = names_from(
    __name__,
    {
        "Classifier": "modnas_fast.deployment.classifier",
        "Deployment": "modnas_fast.deployment.deploying",
        "deploy": "modnas_fast.deployment.deploying",
    },
)
