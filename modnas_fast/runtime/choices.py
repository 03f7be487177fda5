"""The named choices of a configuration, with the places of what is built in: looking at them imports nothing.

What an object of each kind is called with and must return: docs/extending.md.
"""

from __future__ import annotations

from modnas_fast.runtime.registry import Registry

#: the class of a search space; pyproject.toml names the built-in ones as entry points too
SPACES = Registry(
    "spaces",
    "space.name",
    {
        "nb201": "modnas_fast.spaces.nb201:NB201Space",
        "gpt": "modnas_fast.spaces.gpt:GPTSpace",
        "hat": "modnas_fast.spaces.hat:HATSpace",
        "mobilenetv3": "modnas_fast.spaces.mobilenetv3:MobileNetV3Space",
    },
)

#: where a built-in space declares its keys of the configuration's section `space`: apart from its class, which loads
#: torch
SPACE_KEYS = {
    "nb201": "modnas_fast.spaces.nb201.keys:NB201Keys",
    "gpt": "modnas_fast.spaces.gpt.keys:GPTKeys",
    "hat": "modnas_fast.spaces.hat.keys:HATKeys",
    "mobilenetv3": "modnas_fast.spaces.mobilenetv3.keys:MobileNetV3Keys",
}

PREDICTORS = Registry(
    "predictors",
    "predictor.kind",
    {
        "additive": "modnas_fast.predictors.metapredictor:MetaPredictor",
        "detailed": "modnas_fast.predictors.metapredictor:DetailedMetaPredictor",
        "mlp": "modnas_fast.predictors.mlp_predictor:MLPMetaPredictor",
        "graph": "modnas_fast.predictors.graph_predictor:GraphMetaPredictor",
        "plain_graph": "modnas_fast.predictors.graph_predictor:PlainGraphPredictor",
    },
    arguments=("space", "embedding_width"),
    keywords=("generator",),
)

METRICS = Registry(
    "metrics",
    "objectives",
    {
        "parameters": "modnas_fast.devices.metric:PARAMETERS",
        "flops": "modnas_fast.devices.metric:FLOPS",
        "memory": "modnas_fast.devices.metric:MEMORY",
        "cache_memory": "modnas_fast.devices.metric:CACHE_MEMORY",
    },
    arguments=("network", "input_shape"),
)

#: what makes a task, called without arguments
TASKS = Registry(
    "tasks",
    "task.kind",
    {
        "images": "modnas_fast.tasks.images:ImageClassification",
        "language": "modnas_fast.tasks.language:LanguageModelling",
        "translation": "modnas_fast.tasks.translation:Translation",
    },
)

SURROGATES = Registry(
    "surrogates",
    "task.surrogate",
    {"gaussian_process": "modnas_fast.tasks.surrogate:ErrorSurrogate"},
    arguments=("onehot", "errors"),
)

HYPERNETWORKS = Registry(
    "hypernetworks",
    "hypernetwork.kind",
    {
        "bank": "modnas_fast.method.metahypernet:BankHypernetwork",
        "mlp": "modnas_fast.method.metahypernet:MLPHypernetwork",
    },
    keywords=("num_options", "num_objectives", "embedding_width", "generator"),
)

ARCHITECTS = Registry(
    "architects",
    "architect.kind",
    {
        "reinmax": "modnas_fast.method.architect:ReinMax",
        "gdas": "modnas_fast.method.architect:GDAS",
        "leave_one_out": "modnas_fast.method.architect:LeaveOneOut",
        "gumbel_softmax": "modnas_fast.method.architect:GumbelSoftmax",
        "softmax": "modnas_fast.method.architect:Softmax",
    },
    arguments=("group_sizes",),
    keywords=("tau_max", "tau_min"),
)

PREFERENCES = Registry(
    "preferences",
    "preferences.kind",
    {"dirichlet": "modnas_fast.method.preferences:dirichlet", "sobol": "modnas_fast.method.preferences:sobol"},
    arguments=("num_devices", "num_objectives"),
    keywords=("generator",),
)

SCALARIZATIONS = Registry(
    "scalarizations",
    "scalarization.kind",
    {
        "linear": "modnas_fast.method.scalarize:linear",
        "smooth_chebyshev": "modnas_fast.method.scalarize:smooth_chebyshev",
        "cosine": "modnas_fast.method.scalarize:cosine",
        "task_alone": "modnas_fast.method.scalarize:task_alone",
    },
    arguments=("losses", "preference"),
)

SCHEMES = Registry(
    "schemes",
    "mgd.scheme",
    {
        "mgd": "modnas_fast.mgd.schemes:MultipleGradientDescent",
        "mean": "modnas_fast.mgd.schemes:Mean",
        "sequential": "modnas_fast.mgd.schemes:Sequential",
        "sample": "modnas_fast.mgd.schemes:Sample",
    },
    families={"torchjd": "modnas_fast.mgd.torchjd_scheme:torchjd_scheme"},
)

BASELINES = Registry(
    "baselines",
    "methods",
    {
        "random": "modnas_fast.baselines.random_search:random_search",
        "random-hypernet": "modnas_fast.baselines.random_hypernet:random_hypernetwork",
        "nsga2": "modnas_fast.baselines.optuna_search:nsga2",
        "tpe": "modnas_fast.baselines.optuna_search:tpe",
        "gp": "modnas_fast.baselines.optuna_search:gaussian_process",
        "local-search": "modnas_fast.baselines.local_search:local_search",
        "evolution": "modnas_fast.baselines.evolution:regularised_evolution",
    },
    arguments=("problem", "seed"),
)
