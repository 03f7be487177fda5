"""The configuration of a run: one tree of validated models, with units and the paper's value beside each field."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from modnas_fast.config.faults import faults_of
from modnas_fast.config.presets import OWN_IMAGES, PRESETS
from modnas_fast.config.section import Section
from modnas_fast.config.space import keys_of, known
from modnas_fast.runtime import choices
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_text
from modnas_fast.runtime.registry import Registry
from modnas_fast.runtime.suggestions import did_you_mean

Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


#: tokens of a vocabulary that are there in any case: the bytes, and what ends a document
SMALLEST_VOCABULARY = 257
#: the space of a configuration that names none
DEFAULT_SPACE = "nb201"
#: pixels of the shorter side from which on images count as photos
PHOTO_SIDE = 64
#: names of the tables of costs that come from the registry of benchmark data
PUBLISHED_TABLES = (
    *("help", "hw-nas-bench-360", "hw-gpt-bench", "ofa-help"),
    *("hat", "hat-wmt14enfr", "hat-wmt19ende", "hat-iwslt14deen"),
)
#: keys that hold paths, with the words that stand there instead of one
PATHS = {("task", "data"): ("digits", "python-topics"), ("devices", "table"): PUBLISHED_TABLES}


class _ChoiceSection(Section):
    """A section with the name of an object of a registry, and keyword arguments for one that is not built in."""

    #: the registry, the field with the name, and the field with the keyword arguments
    choice: ClassVar[tuple[Registry, str, str]]

    @property
    def chosen(self) -> tuple[Registry, str, dict[str, Any]]:
        """The registry, the name and the keyword arguments of one's own object, empty for a built-in one."""
        registry, name, options = self.choice
        return registry, getattr(self, name), getattr(self, options)

    @model_validator(mode="after")
    def _options_have_a_taker(self) -> _ChoiceSection:
        registry, name, options = self.chosen
        if options and name in registry:
            section = registry.key.partition(".")[0]
            raise ValueError(
                f"{section}.{self.choice[2]}: for an object of your own; {name} takes the other keys of {section}"
            )
        return self


class SpaceConfig(_ChoiceSection):
    """Which networks are searched; beside `name` and `options`, the keys that the space declares."""

    model_config = ConfigDict(extra="allow")
    choice = (choices.SPACES, "name", "options")
    name: Annotated[str, AfterValidator(choices.SPACES.check)] = DEFAULT_SPACE
    """`nb201`, `mobilenetv3` (images), `gpt` (language), `hat` (translation), or one's own (docs/extending.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a space of one's own."""

    if TYPE_CHECKING:  # the keys of the space

        def __getattr__(self, name: str) -> Any: ...

    @model_validator(mode="before")
    @classmethod
    def _with_its_keys(cls, tree: Any) -> Any:
        """Other keys are those of the space, with its defaults."""
        if not isinstance(tree, Mapping) or not known(name := tree.get("name", DEFAULT_SPACE)):
            return tree
        keys = keys_of(name).model_validate({key: tree[key] for key in tree if key not in cls.model_fields})
        return {**tree, **dict(keys)}

    @property
    def network(self) -> dict[str, Any]:
        """The space's keys that `SearchSpace.build`, `analytic` and `supernet` take."""
        keys = keys_of(self.name)
        return {key: value for key, value in self._own.items() if key not in (*keys.of_supernet, *keys.of_space)}

    @property
    def arguments(self) -> dict[str, Any]:
        """What the space itself is made with."""
        own = {key: value for key, value in self._own.items() if key in keys_of(self.name).of_space}
        return {**own, **self.options}

    @property
    def supernet(self) -> dict[str, Any]:
        """The space's keys that `SearchSpace.supernet` takes besides."""
        return {key: value for key, value in self._own.items() if key in keys_of(self.name).of_supernet}

    @property
    def files(self) -> dict[str, str]:
        """The space's keys that hold paths, with the files that they name."""
        return {key: value for key, value in self._own.items() if key in keys_of(self.name).paths and value is not None}

    @property
    def image_side(self) -> int | None:
        """See `SpaceKeys.image_side`."""
        return keys_of(self.name).model_validate(self._own).image_side

    @property
    def _own(self) -> dict[str, Any]:
        return self.model_extra or {}


def _vocabulary(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value in (None, "bytes", "gpt2") or (whole and value > SMALLEST_VOCABULARY):
        return value
    raise ValueError(
        f"task.vocabulary: wanted bytes, gpt2, or how many tokens are learned, more than {SMALLEST_VOCABULARY}, got "
        f"{value!r}"
    )


class TaskConfig(_ChoiceSection):
    """Which images are classified, whose texts are continued, or which task of a table is searched."""

    choice = (choices.SURROGATES, "surrogate", "surrogate_options")
    kind: Annotated[str, AfterValidator(choices.TASKS.check)] = "images"
    """What is learned: the classes of `images` (error), the next token of texts (`language`, perplexity), or
    `translation` (loss); or a task of one's own, `mine:task` (docs/own-model.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a task of one's own."""
    data: Annotated[str, Field(min_length=1)] | None = "digits"
    """Of images: `digits` (embedded), a folder with one sub-folder per class, or image parquet (file or folder;
    docs/images.md); None: images of one's own that are still to be named, without which no search begins. Of language:
    `python-topics` (embedded), or a file or folder of *.txt, *.jsonl, *.parquet or *.bin (docs/gpt.md). Of translation:
    a folder with files such as train.en and train.de, a tab-separated file or parquet (docs/hat.md)."""
    languages: tuple[str, str] | None = None
    """Translation: source and target, as endings of files or names of columns; None: in the order found."""
    limit: Positive | None = None
    """Stratified subset of the training pool, in images, or samples of texts; None: all."""
    test_limit: Positive | None = None
    """Stratified subset of the data set's own test part, in images, or samples of texts; None: all."""
    context: Annotated[int, Field(ge=2)] = 64
    """Language: tokens of a sample; published: 1,024. Translation: tokens of a sentence at most."""
    vocabulary: Annotated[Literal["bytes", "gpt2"] | int | None, BeforeValidator(_vocabulary)] = None
    """Language and translation: what a token is: `bytes`, `gpt2`, GPT-2's byte pairs (`modnas-fast data fetch
    gpt2-bpe`), or a whole number, as 2048: so many byte pairs, learned from the training part. None: bytes; of *.bin,
    GPT-2's."""
    resize: Annotated[int, Field(ge=4, le=512)] | None = None
    """Side of the images in pixels; None: the most common size, scaled down to a longer side of 64 if it is larger; for
    mobilenetv3 squares of its largest resolution, or of the shorter side where that is smaller."""
    fractions: tuple[Fraction, Fraction, Fraction] = (0.5, 0.25, 0.25)
    """Shares of (train, validation, test); a test part of the data set's own is kept. Paper: halves of train."""
    source: Literal["supernet", "surrogate"] = "supernet"
    """Where the search gets errors: shared weights trained on the images (paper), or a regression on `queries` true
    errors of `table`, which needs no images (preset nb201)."""
    table: Annotated[str, Field(min_length=1)] | None = None
    """The task whose published qualities judge the answer: of NAS-Bench-201 `cifar10`, `cifar100` or
    `imagenet16-120`, of gpt in the scales s, m, l `openwebtext`, of hat in the spaces 0, 1 `wmt14-ende`, of
    mobilenetv3 in the scale published `imagenet`;
    None: none is known, the supernet's count."""
    queries: Annotated[int, Field(ge=8)] = 300
    """Q, true errors that the surrogate may know, for all devices together."""
    surrogate: Annotated[str, AfterValidator(choices.SURROGATES.check)] = "gaussian_process"
    """The regression from networks to errors, or one of one's own (docs/extending.md)."""
    surrogate_options: dict[str, Any] = {}
    """Keyword arguments of a regression of one's own."""
    augment: bool | Literal["photos"] = False
    """Random crops and mirror images (never mirrored for digits), the crops of moved images (paper: True), or with
    `photos` of a part of the image in its whole size."""

    @model_validator(mode="after")
    def _options_of_own_kind(self) -> TaskConfig:
        if self.options and self.kind in choices.TASKS:
            raise ValueError(f"task.options: for a task of your own; {self.kind} takes the other keys of task")
        return self


class DevicesConfig(Section):
    """Which devices are searched: settings of this machine, which are measured, or devices of a table."""

    unseen: Literal["auto"] | tuple[str, ...] = "auto"
    """Names of the devices held out from the search; `auto`: of this machine two of the CPU's settings and one of
    each GPU's; of the tables help, hw-gpt-bench, hat and ofa-help the paper's where `search` is None; none
    otherwise."""
    table: Annotated[str, Field(min_length=1)] | None = None
    """Costs from a table instead of this machine: `help`, `hw-nas-bench-360`, `hw-gpt-bench`, `ofa-help`, `hat` (En-De;
    `hat-wmt14enfr`, `hat-wmt19ende`, `hat-iwslt14deen`: of other tasks); a CSV or parquet file with columns
    architecture, device, latency_ms and others such as energy_mj, of all networks or of at least 30; or, for
    mobilenetv3, YAML with the latencies of blocks, a file or a folder, which is exact for every network
    (docs/mobilenetv3.md). Paper: help. The presets nb201, nb201-supernet, nb201-paper, hw-gpt-bench, hat and ofa-help
    have what else a search on published tables needs."""
    search: tuple[str, ...] | None = None
    """Names of the table's devices that are searched; None: the paper's 13 of help, its 4 of hw-gpt-bench, its 2 of
    hat, its 11 of ofa-help, all of other tables, less those in `unseen`."""
    formats: Literal["auto"] | Annotated[tuple[Literal["float32", "bfloat16"], ...], Field(min_length=1)] = "auto"
    """Number formats of this machine's CPU settings; `auto`: float32, and bfloat16 where the CPU has instructions for
    it: without them it may take ten times as long as float32."""
    networks: Positive = 48
    """Networks measured per search device to train the predictor, those of a table of one's own that has not all being
    known anyway; paper: 900."""
    heldout: Annotated[int, Field(ge=4)] = 24
    """Random networks per device that judge the predictor: measured on this machine, or at most a fifth of a table
    that has not all."""
    repeats: Positive = 15
    """Rounds in which every network is measured on a setting of this machine. Two thirds of them where the medians are
    known closely by then, up to a third more where others disturb."""
    minutes: PositiveFloat = 10.0
    """What measuring this machine should take before the search, by an estimate: `repeats` falls to 3 where it would
    take longer; where 3 take 6 times as long the run is refused. Chosen networks, behind the search: a third of it."""

    @model_validator(mode="after")
    def _table_named(self) -> DevicesConfig:
        if self.table is None and self.search is not None:
            raise ValueError("devices.search: belongs to a table; set devices.table, such as help, too")
        return self


class PredictorConfig(_ChoiceSection):
    """Training of the MetaPredictor."""

    choice = (choices.PREDICTORS, "kind", "options")
    kind: Annotated[str, AfterValidator(choices.PREDICTORS.check)] = "additive"
    """`additive`: a cost per operation, for few measurements of one's own; `detailed`: the same on more counts, for
    hundreds of measured GPTs; `mlp`: on one-hots (paper, GPTs); `graph`: a graph network, for tables; `plain_graph`:
    that of HELP (paper); or one of one's own (docs/extending.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a kind of one's own."""
    hidden: Positive = 100
    """Width of the hidden layer; paper: 100."""
    steps: Positive = 800
    """Steps of Adam."""
    learning_rate: PositiveFloat = 3e-3
    """Adam's initial step size, falling by cosine; paper: 1e-4."""


class HypernetworkConfig(_ChoiceSection):
    """The MetaHypernetwork."""

    choice = (choices.HYPERNETWORKS, "kind", "options")
    kind: Annotated[str, AfterValidator(choices.HYPERNETWORKS.check)] = "bank"
    """`bank`: embedding tables mixed by attention (paper); `mlp`: smooth in r and d, any number of objectives; or one
    of one's own (docs/extending.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a kind of one's own."""
    tables: Positive = 50
    """Tables of the bank; paper: 50."""
    intervals: Annotated[int, Field(ge=2)] = 26
    """Preference intervals per table of the bank, up to twice as many for three objectives or more; paper: 101."""
    interpolate: bool = True
    """Bank: interpolate between intervals; paper: nearest."""
    hidden: Positive = 100
    """Width of the mlp's two hidden layers."""
    logit_bound: PositiveFloat = 3.0
    """Mlp: logits stay within ± this, so that no option's probability vanishes during the search."""


class ArchitectConfig(_ChoiceSection):
    """The differentiable sampler of architectures."""

    choice = (choices.ARCHITECTS, "kind", "options")
    kind: Annotated[str, AfterValidator(choices.ARCHITECTS.check)] = "leave_one_out"
    """`reinmax` (paper), `gdas`, `leave_one_out`, `gumbel_softmax`, `softmax`, or one of one's own
    (docs/extending.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a kind of one's own."""
    samples: Positive | None = None
    """K, architectures drawn per device and step; None: 4 for leave_one_out, 1 (paper) for the others."""
    entropy_start: NonNegativeFloat = 1.0
    """Weight of the entropy of the architecture distribution at the start, falling geometrically; paper: 0."""
    entropy_end: PositiveFloat = 0.05
    """The same at the end; without meaning where `entropy_start` is 0."""
    temperature: PositiveFloat = 1.0
    """Paper: 1."""
    tau_max: PositiveFloat | None = None
    """Temperature at the start of a linear schedule; None: constant (gdas: 10)."""
    tau_min: PositiveFloat | None = None
    """Temperature at the end of that schedule (gdas: 0.1)."""
    gradient: Literal["exact", "published"] = "exact"
    """Of the task loss by hard samples. `exact`: options not chosen are computed for theirs; `published`: as in the
    code of the paper and of GDAS they are not, and share the gradient of a constant."""

    @model_validator(mode="after")
    def _both_ends(self) -> ArchitectConfig:
        if (self.tau_max is None) != (self.tau_min is None):
            raise ValueError("architect: tau_max and tau_min go together: give both or neither")
        if self.kind == "leave_one_out" and self.samples == 1:
            raise ValueError("architect.samples: leave_one_out compares samples, so it must be at least 2")
        return self


class RegionConfig(Section):
    """A part of the fronts of some devices, by intervals from, to; null leaves an end open."""

    devices: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Names of devices, or patterns with * and ? such as pixel*."""
    within: dict[str, tuple[float | None, float | None]] = {}
    """By key of an objective, such as {latency_ms: [3, 8]}."""
    weights: dict[str, tuple[NonNegativeFloat | None, NonNegativeFloat | None]] = {}
    """By name of an objective, the interval of its weight in preferences, such as {error: [0.5, 0.9]}."""

    @model_validator(mode="after")
    def _is_a_part(self) -> RegionConfig:
        if not (self.within or self.weights):
            raise ValueError("preferences.regions: a region wants within, such as {latency_ms: [3, 8]}, or weights")
        for key, (low, high) in {**self.within, **self.weights}.items():
            if low is not None and high is not None and not low < high:
                raise ValueError(f"preferences.regions: {key} wants [from, to] with from < to, got [{low}, {high}]")
        return self


class PreferencesConfig(_ChoiceSection):
    """How preferences are drawn during the search."""

    choice = (choices.PREFERENCES, "kind", "options")
    kind: Annotated[str, AfterValidator(choices.PREFERENCES.check)] = "dirichlet"
    """`dirichlet` (paper), `sobol` (those of a step spread evenly over the devices), or a sampler of one's own
    (docs/extending.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a kind of one's own."""
    beta: PositiveFloat | tuple[PositiveFloat, ...] = 1.0
    """Parameter of the Dirichlet distribution, one number or one per objective; paper: 1."""
    shared: bool = False
    """One preference per step for all devices; False: one per device (paper)."""
    regions: tuple[RegionConfig, ...] = ()
    """Parts of fronts that count more than others: `focus` of the preferences are drawn where answers lie in them, and
    further answers are given there (docs/preferences.md)."""
    adaptive: bool = False
    """Whether `focus` of the preferences are drawn where neighbouring preferences have answers far apart; within the
    regions, where both are given."""
    focus: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the preferences that regions and `adaptive` draw; the others come from `kind`."""
    region_answers: Positive = 24
    """Answers within the regions of a device, at most, beside those of its rays."""

    @model_validator(mode="after")
    def _each_device_its_own(self) -> PreferencesConfig:
        if self.shared and self.focused:
            given = "regions" if self.regions else "adaptive"
            raise ValueError(f"preferences.shared: {given} draws for each device by itself; leave it at false")
        return self

    @property
    def focused(self) -> bool:
        """Whether some preferences count more than others."""
        return bool(self.regions) or self.adaptive

    def parameters(self) -> dict[str, Any]:
        """The arguments that this kind takes."""
        if self.kind not in choices.PREFERENCES:
            return dict(self.options)
        shared = {"shared": self.shared}
        return {"beta": self.beta, **shared} if self.kind == "dirichlet" else shared


class ScalarizationConfig(_ChoiceSection):
    """How the objectives of one device become one loss."""

    choice = (choices.SCALARIZATIONS, "kind", "options")
    kind: Annotated[str, AfterValidator(choices.SCALARIZATIONS.check)] = "smooth_chebyshev"
    """`linear` (paper), `smooth_chebyshev`, `cosine` (published code), `task_alone` (published code for translation:
    preferences and costs have no influence), or one of one's own (docs/extending.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a kind of one's own."""
    mu: PositiveFloat = 0.003
    """Smoothing of smooth_chebyshev, in units of the weighed losses."""
    penalty: NonNegativeFloat = 0.1
    """Weight of the cosine term."""
    detach_penalty: bool = False
    """Cosine term without gradient, as in the published code."""
    normalize: bool = True
    """Objectives scaled to the range of uniformly random networks first; paper: False."""
    task_tail: Fraction = 0.05
    """Share of those networks taken as worse than the worst whose task loss matters."""

    def parameters(self) -> dict[str, Any]:
        """The arguments that this kind takes."""
        fields = {"linear": (), "smooth_chebyshev": ("mu",), "cosine": ("penalty", "detach_penalty")}
        return {name: getattr(self, name) for name in fields.get(self.kind, ())} or dict(self.options)


class MGDConfig(_ChoiceSection):
    """How the devices' gradients are combined."""

    choice = (choices.SCHEMES, "scheme", "options")
    scheme: Annotated[str, AfterValidator(choices.SCHEMES.check)] = "mgd"
    """`mgd` (paper), `mean`, `sequential`, `sample` (its ablations), a weighting of TorchJD's such as `torchjd:UPGrad`
    (pip install torchjd), or one of one's own (docs/extending.md)."""
    options: dict[str, Any] = {}
    """Keyword arguments of a scheme of one's own, or of TorchJD's weighting."""
    normalize: Literal["none", "l2"] = "l2"
    """Division of each device's gradient by its norm; published code: l2."""


class SearchConfig(Section):
    """The bilevel loop."""

    steps: Annotated[int, Field(ge=0)] = 600
    """Steps, each one update of Φ and one of w; paper: 9,800."""
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    """Further steps before, in which w alone is trained on networks of every cost; paper: 0."""
    refine_steps: Annotated[int, Field(ge=0)] = 200
    """Further steps behind, in which w stands still and Φ learns the best networks known by their error on the whole
    validation part, while mutations look for better ones; paper: 0."""
    refine_preferences: Positive = 24
    """Preferences per device in each of them."""
    refine_networks: Annotated[int, Field(ge=8)] = 2000
    """Networks whose error is computed for that at most: it bounds the time where images are many or large."""
    spread_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the devices whose w step uses a random network, drawn evenly over the range of the predicted cost,
    instead of one sampled from Φ; paper: 0."""
    batch_size: Positive = 64
    """Paper: 256."""
    weight_learning_rate: PositiveFloat = 0.1
    """SGD on the mean over devices, falling to its 1/25 by cosine; paper: 0.025 × 13 to 0.001."""
    weight_optimizer: Literal["sgd", "adamw"] = "sgd"
    """Of w: SGD with momentum (paper, images), or AdamW with betas (0.9, 0.95), for transformers; its learning rate,
    too, falls to 1/25 by cosine."""
    weight_warmup: Fraction = 0.0
    """Share of w's steps in which that learning rate rises from 0 along a line; published: GPTs 0.005."""
    sandwich: bool = False
    """Every step of w trains the smallest and the largest network in place of two others (published for GPTs), where
    networks are nested in each other, as those of gpt are."""
    distillation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """With `sandwich`: share of the losses of other networks that compares their outputs with the largest network's of
    the same step (in-place distillation; OFA: half, from a network trained before)."""
    shrinking: tuple[Fraction, ...] | None = None
    """Progressive shrinking, for spaces of nested networks that name an order of their choices: the shares of the
    warm-up after which kernels, then depths, then expansions of mobilenetv3 may differ from the largest network's;
    None: all from the start. OFA: [0.31, 0.51, 0.75]."""
    train_weights: bool = True
    """False: w stays what the space's file with pretrained weights holds; there is no warm-up, and Φ learns alone."""
    weight_momentum: Fraction = 0.9
    """Of that SGD; paper: 0.9."""
    weight_decay: NonNegativeFloat = 0.0005
    """Paper: 0.0027."""
    gradient_clip: PositiveFloat = 5.0
    """Largest norm of the gradient of w; paper: 5."""
    hyper_learning_rate: PositiveFloat = 0.25
    """Adam on Φ; paper: 3e-4 × 13."""
    hyper_betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    """Decay of that Adam's means of the gradient and of its square; paper: 0.5 and 0.999."""
    hyper_weight_decay: NonNegativeFloat = 0.0
    """Paper: 0.09."""
    viability: bool = True
    """Add a penalty to ℓ of networks whose output does not depend on their input; paper: False."""
    calibrate_every: Positive = 25
    """Steps between looks at random networks that follow the range of the task loss."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where w and Φ are trained, errors computed and chosen networks verified. `auto`: a GPU where torch sees one and
    all it sees are of compute capability 8.0 or more, else the CPU. With `task.source=surrogate` there is nothing to
    train but Φ, and the CPU serves."""
    devices_per_step: Positive | None = 32
    """Searched devices in a step at most, drawn anew for every one where there are more: time per step then does not
    grow with their number, and nothing is lost (docs/large-searches.md). None: all (paper)."""
    device_chunk: Positive | None = None
    """Devices that are computed side by side; gradients are exact whatever it is. None: as many as fit into the free
    memory of a GPU; on a CPU, where each thread has its own, as many as stay within 256 MB, which is faster."""
    activations: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the supernet's activations; statistics and weights are in float32. `auto`: bfloat16 on a GPU,
    where it halves the memory and its traffic, if the supernet takes it; on a CPU with instructions for it, where steps
    of the run are found to be at least 1.2 times as fast in it; else float32."""
    capture: bool = True
    """GPU only: the supernet's passes run as CUDA graphs, without the cost of launching their kernels one by one, if
    the supernet can be captured."""
    threads: Positive | None = 1
    """CPU threads of everything but the measurements; None: all. Networks as small as the default's gain nothing from
    a second thread, and on a busy machine threads that wait for each other lose much."""
    mesh: Annotated[str, Field(pattern="^(auto|[1-9][0-9]*x[1-9][0-9]*)$")] = "auto"
    """Of the ranks under torchrun (docs/large-searches.md): how many divide the searched devices, and how many the
    minibatches, such as 4x2. `auto`: as many as can for the devices."""
    batch_norm: Literal["whole", "local"] = "whole"
    """Where ranks divide minibatches: statistics over all of one, so that the search does not depend on how many there
    are, or those of each rank's part, which exchanges nothing within a pass."""
    shard: bool = False
    """Ranks hold parts of the supernet's weights, their gradients and their optimiser (FSDP2), for those that do not
    fit one GPU; of gpt. One process computes in the same way, by masks as on a GPU, so that a run can go on with it."""
    log_every: Positive = 10
    """Steps between entries of the history."""
    evaluations: Annotated[int, Field(ge=0)] = 8
    """How often the hypervolume is evaluated during the search."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _largest_tells(self) -> SearchConfig:
        if self.distillation and not self.sandwich:
            raise ValueError("search.distillation: others learn from the largest network: set search.sandwich, too")
        if self.distillation and self.shard:
            raise ValueError(
                "search.shard: outputs of the largest network cannot be kept with parts of its weights: set "
                "search.distillation to 0, or shard to false"
            )
        if self.shrinking is not None and list(self.shrinking) != sorted(self.shrinking):
            raise ValueError(f"search.shrinking: wanted rising shares of the warm-up, got {list(self.shrinking)}")
        return self

    @property
    def warmup(self) -> int:
        """Steps of w before the search: none where w stands still."""
        return self.warmup_steps if self.train_weights else 0


class EvaluationConfig(Section):
    """The evaluation of the trained hypernetwork."""

    rays: Positive | None = None
    """Preferences per device; None: 24 (paper) for two objectives, 66 for three, 120 for more."""
    batch_size: Positive = 256
    """Images at a time, where errors are computed."""
    archive: Annotated[int, Field(ge=0)] = 100
    """Answers per device, at most, beside those of the rays (paper: 0): what the search evaluated on its way and
    believes to be on the device's front. Of a longer front as many that are evenly spread; with many devices fewer."""
    measured: Annotated[int, Field(ge=0)] = 200
    """Samples of the test part by which further measures of the answers' networks are told, where the task has such, as
    translation has BLEU, with weights inherited from the supernet; 0: none. Fronts are those of the first objective all
    the same: it tells networks apart long before these do."""
    baselines: bool = False
    """Whether random search, an evolution and, of two objectives, a Gaussian process search the trained supernet, too,
    with as many evaluated networks as the refinement and the answers had; each takes about as long as the refinement.
    Random networks, as many as answers, are evaluated always."""
    statistics_samples: Positive = 256
    """Training images on which batch normalisations of chosen networks compute their statistics anew, where networks
    share scale and shift of them, as those of mobilenetv3 do (published: 2,000)."""

    def num_rays(self, objectives: int) -> int:
        """Preferences per device of so many objectives."""
        return self.rays or {2: 24, 3: 66}.get(objectives, 120)


class VerifyConfig(Section):
    """Training of chosen networks from scratch, and measuring them."""

    networks: Annotated[int, Field(ge=0)] = 4
    """How many networks, spread over the front; 0 skips the stage."""
    epochs: Positive = 40
    """Passes over the images of train and validation together."""
    batch_size: Positive = 64
    """Images per step."""
    learning_rate: PositiveFloat = 0.1
    """Falling to 0 by cosine."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum 0.9, or AdamW with betas (0.9, 0.95), for transformers."""
    weight_decay: NonNegativeFloat = 0.0005
    """Of that SGD."""


class ReportConfig(Section):
    """What is written to be looked at."""

    plots: bool = True
    """PNG files beside the page; false: the page alone, in a third of the time. `modnas-fast report` writes both."""


class Config(Section):
    """Everything that determines a run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of everything random: the same seed on the same machine gives the same run."""
    objectives: Annotated[tuple[str, ...], Field(min_length=2)] = ("error", "latency")
    """What is minimised: the task's quality, then costs: those of the devices (latency; of texts token_latency too; of
    a table its columns, such as energy), and metrics of every network, exact: `parameters`, `flops`, `memory`, of gpt
    `cache_memory`, or one of one's own (docs/extending.md); paper: error and latency."""
    space: SpaceConfig = Field(default_factory=SpaceConfig)
    task: TaskConfig = TaskConfig()
    devices: DevicesConfig = DevicesConfig()
    predictor: PredictorConfig = PredictorConfig()
    hypernetwork: HypernetworkConfig = HypernetworkConfig()
    architect: ArchitectConfig = ArchitectConfig()
    preferences: PreferencesConfig = PreferencesConfig()
    scalarization: ScalarizationConfig = ScalarizationConfig()
    mgd: MGDConfig = MGDConfig()
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    verify: VerifyConfig = VerifyConfig()
    report: ReportConfig = ReportConfig()

    @property
    def num_rays(self) -> int:
        """Preferences per device in an evaluation."""
        return self.evaluation.num_rays(len(self.objectives))

    @field_validator("objectives")
    @classmethod
    def _differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"wanted every objective once, got {', '.join(names)}")
        return names

    @model_validator(mode="after")
    def _betas_of_all(self) -> Config:
        beta = self.preferences.beta
        if isinstance(beta, tuple) and len(beta) != len(self.objectives):
            raise ValueError(
                f"preferences.beta: wanted one number, or {len(self.objectives)}, of {', '.join(self.objectives)}; got "
                f"{len(beta)}"
            )
        return self

    @model_validator(mode="after")
    def _weights_come_from_somewhere(self) -> Config:
        own = ":" in self.space.name  # which may begin with weights without a word
        if not (self.search.train_weights or self.space.files or self.space.options or own):
            raise ValueError(
                f"search.train_weights: false wants pretrained weights, and space {self.space.name} was given none"
                + (f": set space.{keys.paths[0]}" if (keys := keys_of(self.space.name)).paths else "")
            )
        return self

    @model_validator(mode="after")
    def _source_fits(self) -> Config:
        if self.task.source == "surrogate":
            if self.task.table is None:
                raise ValueError(
                    "task.source: surrogate needs the truth of a task: set task.table, such as cifar10, or use "
                    "--preset nb201"
                )
            if self.search.device == "cuda":
                raise ValueError(
                    "search.device: a search by surrogate runs on the CPU; leave it at auto, or use --preset "
                    "nb201-supernet"
                )
            if self.evaluation.baselines:
                raise ValueError(
                    "evaluation.baselines: it compares on weights that were trained, and a surrogate has none; leave "
                    "it out, and see modnas-fast baselines or reproduce"
                )
            if self.task.data not in ("digits", OWN_IMAGES):
                raise ValueError(
                    "task.data: the surrogate reads no images; leave --data out or use --preset nb201-supernet"
                )
        return self


def make_config(
    config: Config | Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    preset_of_images: Callable[[str], str] = lambda place: "images",
    **sections: Any,
) -> Config:
    """The configuration of a preset, changed by a YAML file, then by `sections`, then by `a.b=c` overrides.

    Args:
        config: a whole configuration instead of a preset, or a tree that changes the preset before the file does.
        preset: its name; None: `digits` for the embedded digits, `preset_of_images` for images of one's own.
        file: YAML with a mapping of sections.
        overrides: `a.b=c` with c in YAML.
        preset_of_images: gives the preset for images at a place, where nothing but their size decides on it.
        sections: by name, mappings of the keys that change; and `seed`.

    Raises InputError with a line for each key that is wrong, which says what was wanted.

    >>> make_config(overrides=["search.steps=10"]).search.steps
    10
    """
    changes: dict[str, Any] = {}
    faults: list[str] = []
    whole = isinstance(config, Config)
    if whole and preset is not None:
        faults.append(f"preset: a whole configuration was given, which no preset changes, got {preset!r}")
    elif isinstance(config, Mapping):
        _merge(changes, config)
    elif config is not None and not whole:
        raise InputError(f"config: wanted a Config, a mapping of sections or a YAML file, got {type(config).__name__}")
    if file is not None:
        _merge(changes, _read_yaml(file))
    _merge(changes, sections)
    for override in overrides:
        try:
            _merge(changes, _parse_override(override))
        except InputError as error:
            faults.append(str(error))
    preset = preset or _preset_for(changes, preset_of_images)
    if not whole and preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS)
        faults.append(f"preset: unknown preset {preset!r}; {hint}available: {', '.join(PRESETS)}")
    tree: dict[str, Any] = {}
    _merge(tree, config.model_dump() if isinstance(config, Config) else PRESETS.get(preset, {}))
    try:
        _leave_out_other_keys(tree, changes)
        _merge(tree, changes)
        made = Config.model_validate(tree)
    except ValidationError as error:
        faults += faults_of(error, with_keys_of(space_of(tree)))
    except InputError as error:
        faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    return made


def space_of(tree: Mapping[str, Any]) -> str:
    """The name of the space in a plain tree; the default's where there is none, or none that can be."""
    section = tree.get("space")
    name = section.get("name", DEFAULT_SPACE) if isinstance(section, Mapping) else DEFAULT_SPACE
    return name if known(name) else DEFAULT_SPACE


@cache
def with_keys_of(space: str = DEFAULT_SPACE) -> type[Config]:
    """The tree of models with the keys that a space declares as fields of the section `space`, to speak of them all.

    >>> list(with_keys_of("nb201").model_fields["space"].annotation.model_fields)[:3]
    ['name', 'options', 'channels']
    """
    section = create_model("SpaceConfig", __base__=(keys_of(space), SpaceConfig), __module__=__name__)
    section.__doc__ = SpaceConfig.__doc__
    return create_model("Config", __base__=Config, __module__=__name__, space=(section, Field(default_factory=section)))


def _leave_out_other_keys(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """A preset's keys of `space` hold for its space and those that inherit them; for another they are left out."""
    section, changed = tree.get("space", {}), changes.get("space")
    before = section.get("name", DEFAULT_SPACE)
    name = changed.get("name", before) if isinstance(changed, Mapping) else before
    if name != before and known(name):
        inherits = issubclass(keys_of(name), keys_of(before))
        tree["space"] = {
            key: value for key, value in section.items() if inherits and key not in SpaceConfig.model_fields
        }


def find_choices(config: Config) -> None:
    """Loads every object that the configuration names. InputError with a line for each that cannot be used."""
    faults = []
    for section in (getattr(config, name) for name in Config.model_fields):
        if isinstance(section, _ChoiceSection):
            registry, name, options = section.chosen
            try:
                found = registry.find(name, options)
                if registry is choices.SCHEMES:  # which may lack a package
                    found()
            except InputError as error:
                faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))


def _preset_for(changes: Mapping[str, Any], of_images: Callable[[str], str]) -> str:
    """The preset where none is named: for images of one's own it depends on them, unless a space or a table is set."""
    task, devices = (changes.get(name) for name in ("task", "devices"))
    if isinstance(task, Mapping) and task.get("kind", "images") not in choices.TASKS:
        return "images"  # a task of one's own
    if not isinstance(task, Mapping) or task.get("data", "digits") == "digits":
        return "digits"
    tabulated = "table" in task or (isinstance(devices, Mapping) and "table" in devices)
    resize = task.get("resize")
    small = isinstance(resize, int) and resize < PHOTO_SIDE
    plain = task.get("kind", "images") == "images" and "space" not in changes and not small
    return of_images(task["data"]) if plain and not tabulated and isinstance(task["data"], str) else "images"


def validate(tree: dict[str, Any]) -> Config:
    """The validated configuration of a plain tree. Raises InputError with a line for each offending key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError("\n".join(faults_of(error, with_keys_of(space_of(tree))))) from None


def with_absolute_paths(config: Config) -> Config:
    """The configuration with every path made absolute from where the process stands, `~` being the home folder.

    A run that keeps it continues from anywhere.
    """
    for (section, key), words in PATHS.items():
        options = getattr(config, section)
        value = getattr(options, key)
        if value is not None and value not in words:
            config = config.model_copy(update={section: options.model_copy(update={key: _absolute(value)})})
    of_space = {key: _absolute(value) for key, value in config.space.files.items()}
    return config.model_copy(update={"space": config.space.model_copy(update=of_space)}) if of_space else config


def _absolute(path: str) -> str:
    return str(Path(os.path.expanduser(path)).resolve())


def to_yaml(config: Config) -> str:
    """The configuration as YAML that `make_config(file=…)` reads back to the same value."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _merge(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key, {}), dict):
            _merge(tree.setdefault(key, {}), value)
        else:
            tree[key] = value


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: of two sections of one name, the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(read_text(file), _Loader)  # safe: see there
    except OSError as error:
        raise InputError(f"config: cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, InputError) as error:
        raise InputError(f"config: {file} is no valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"config: {file} must hold a mapping of sections, got {type(content).__name__}")
    return content


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise InputError(f"--set: wanted key=value such as search.steps=200, got {text!r}")
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"--set: the value of {key} is no valid YAML: {value!r}") from None
    if isinstance(tree, str):
        tree = _number_or_text(tree)
    for name in reversed(key.strip().split(".")):
        tree = {name: tree}
    return tree


def _number_or_text(text: str) -> float | str:
    """YAML 1.1 takes 1e-3 for text."""
    try:
        return float(text)
    except ValueError:
        return text
