"""One tree of options: presets, files, sections, overrides, and one clear line for every mistake."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from modnas_fast.config import PATHS, PRESETS, Config, make_config, to_yaml, validate, with_absolute_paths
from modnas_fast.config.tree import with_keys_of
from modnas_fast.runtime.errors import InputError


def refused(**arguments: object) -> str:
    with pytest.raises(InputError) as error:
        make_config(**arguments)
    text = str(error.value)
    assert text and "\n" not in text
    return text


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_survives_yaml(tmp_path: Path, preset: str) -> None:
    config = make_config(preset=preset)
    assert make_config(file=written(tmp_path, to_yaml(config))) == config


def test_a_changed_configuration_survives_yaml(tmp_path: Path) -> None:
    overrides = [
        "seed=5",
        "search.weight_decay=1e-7",
        "search.hyper_betas=[0.25, 0.75]",
        "devices.unseen=[cpu_t1_b1_fp32]",
        "task.limit=100",
        "architect.tau_max=5",
        "architect.tau_min=0.1",
    ]
    config = make_config(preset="cifar10-small", overrides=overrides, task={"data": "/data/ünïcode: folder #1"})
    assert make_config(file=written(tmp_path, to_yaml(config))) == config
    assert config.task.data == "/data/ünïcode: folder #1"


def test_defaults_pass_their_own_validation() -> None:
    def check(model: type[BaseModel]) -> None:
        model.model_validate(model().model_dump())
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                check(field.annotation)

    check(Config)


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("search.steps=17", "search", "steps", 17),
        ("search.weight_learning_rate=1e-3", "search", "weight_learning_rate", 0.001),
        ("search.weight_learning_rate=2.5E-1", "search", "weight_learning_rate", 0.25),
        ("search.steps=1e2", "search", "steps", 100),
        ("task.augment=true", "task", "augment", True),
        ("task.limit=null", "task", "limit", None),
        ("task.data=some/folder", "task", "data", "some/folder"),
        ("task.data=a=b", "task", "data", "a=b"),
        ("task.fractions=[0.25, 0.25, 0.5]", "task", "fractions", (0.25, 0.25, 0.5)),
        ("devices.unseen=[a, b]", "devices", "unseen", ("a", "b")),
        (" search.steps =4", "search", "steps", 4),
    ],
)
def test_overrides(override: str, section: str, name: str, value: object) -> None:
    result = getattr(getattr(make_config(overrides=[override]), section), name)
    assert result == value and type(result) is type(value)


def test_later_sources_win(tmp_path: Path) -> None:
    file = written(tmp_path, "task: {limit: 111, resize: 20}\nsearch: {steps: 11, batch_size: 22}\n")
    config = make_config(
        preset="cifar10-small",
        file=file,
        overrides=["search.batch_size=44", "seed=1", "seed=2"],
        search={"batch_size": 33, "steps": 12},
        task={"resize": 24},
    )
    preset = make_config(preset="cifar10-small")
    assert config.task.test_limit == preset.task.test_limit and preset.task.test_limit is not None
    assert (config.task.limit, config.task.resize) == (111, 24) != (preset.task.limit, preset.task.resize)
    assert (config.search.steps, config.search.batch_size, config.seed) == (12, 44, 2)
    assert config.search.weight_momentum == Config().search.weight_momentum


def test_sources_do_not_leak_into_presets_or_each_other() -> None:
    before = yaml.safe_dump(PRESETS)
    sections = {"task": {"limit": 77}}
    make_config(preset="cifar10-small", overrides=["task.limit=55", "space.channels=3"], **sections)
    assert yaml.safe_dump(PRESETS) == before and sections == {"task": {"limit": 77}}


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert make_config(file=written(tmp_path, "# nothing\n")) == make_config()


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("sed=1", ["unknown key sed", "did you mean seed?"]),
        ("search.stepz=1", ["unknown key search.stepz", "did you mean search.steps?", "--show-config"]),
        ("search.step=1", ["unknown key search.step;", "did you mean search.steps?"]),
        ("search.Batch-Size=1", ["unknown key search.Batch-Size", "did you mean search.batch_size?"]),
        ("task.steps=1", ["unknown key task.steps", "did you mean predictor.steps or search.steps?"]),
        ("steps=1", ["unknown key steps;", "predictor.steps or search.steps"]),
        ("serch.steps=1", ["unknown key serch;", "did you mean search?"]),
        ("search.zzz=1", ["unknown key search.zzz; known there: ", "steps", "batch_size"]),
        ("mgd.scheme=meen", ["mgd.scheme", "'sample'", "'meen'; did you mean mean?"]),
        ("devices.unseen=3", ["devices.unseen: ", "'auto'; or ", "tuple", "got 3"]),
        ("task.data=''", ["task.data", "at least 1 character"]),
        ("search.steps.x=1", ["search.steps"]),
        ("seed.x=1", ["seed"]),
        ("search=3", ["search", "3"]),
        ("search.steps=many", ["search.steps", "integer", "'many'"]),
        ("search.steps=1.5", ["search.steps", "1.5"]),
        ("search.steps=-4", ["search.steps", "-4"]),
        ("search.steps=null", ["search.steps", "None"]),
        ("search.weight_learning_rate=0", ["search.weight_learning_rate"]),
        ("search.weight_learning_rate=.nan", ["search.weight_learning_rate", "finite"]),
        ("search.weight_learning_rate=.inf", ["search.weight_learning_rate", "finite"]),
        ("search.hyper_betas=[0.5, 1.0]", ["search.hyper_betas.1", "1.0"]),
        ("search.hyper_betas=[0.5]", ["search.hyper_betas"]),
        ("search.spread_share=1.5", ["search.spread_share", "1.5"]),
        ("space.name=nb301", ["space.name", "'nb201'", "'nb301'"]),
        ("architect.kind=darts", ["architect.kind", "reinmax", "'darts'"]),
        ("mgd.scheme=pcgrad", ["mgd.scheme", "sequential", "'pcgrad'"]),
        ("architect.tau_max=3", ["architect", "tau_max and tau_min go together"]),
        ("hypernetwork.intervals=1", ["hypernetwork.intervals", "2"]),
        ("task.resize=3", ["task.resize", "4"]),
        ("task.fractions=[1, 2, 3]", ["task.fractions.0"]),
        ("devices.unseen=3", ["devices.unseen", "3"]),
        ("seed=-1", ["seed", "-1"]),
        ("seed=2147483648", ["seed"]),
        ("seed", ["--set", "key=value", "'seed'"]),
        ("=3", ["--set", "'=3'"]),
        ("search.steps=[", ["--set", "search.steps", "'['"]),
    ],
)
def test_bad_overrides_name_the_key_in_one_line(override: str, parts: list[str]) -> None:
    text = refused(overrides=[override])
    assert all(part in text for part in parts), text


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("search: {stepz: 3}", ["unknown key search.stepz"]),
        ("a: b: c", ["no valid YAML"]),
        ("search: {steps: 3", ["no valid YAML"]),
        ("\tsearch: 3", ["no valid YAML"]),
        ("!!python/object/apply:os.system [exit]", ["no valid YAML"]),
        ("search: {steps: 3}\nseed: 1\nsearch: {batch_size: 4}", ["no valid YAML", "search stands twice"]),
        ("search: {steps: 3, steps: 4}", ["no valid YAML", "steps stands twice", "line 1"]),
        ("- 1\n- 2", ["mapping of sections", "list"]),
        ("just words", ["mapping of sections", "str"]),
        ("1: 2", ["1", "string"]),
        ("search:\n", ["search", "None"]),
        ("search: [1, 2]", ["search", "[1, 2]"]),
        ("task: {data: 7}", ["task.data", "string", "7"]),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, content: str, parts: list[str]) -> None:
    text = refused(file=written(tmp_path, content))
    assert all(part in text for part in parts), text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.yaml").write_bytes("seed: 7\r\nsearch:\r\n  steps: 3\r\n".encode(encoding))
    config = make_config(file=tmp_path / "c.yaml")
    assert (config.seed, config.search.steps) == (7, 3)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    assert "absent.yaml" in refused(file=tmp_path / "absent.yaml")
    assert str(tmp_path) in refused(file=tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\x80\xfe\x00\x80")
    assert "no valid YAML" in refused(file=tmp_path / "binary.yaml")


def test_unknown_preset() -> None:
    text = refused(preset="imagenet")
    assert "'imagenet'" in text and all(name in text for name in PRESETS)
    assert "did you mean" not in refused(preset="zzz")
    assert "did you mean cifar10-small" in refused(preset="cifar-small")


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, "search: {step: 3, batch_size: none}\nsed: 4\n")
    with pytest.raises(InputError) as error:
        make_config(preset="digit", file=file, overrides=["mgd.scheme=meen", "seed", "task.fractions=[1, 2, 3]"])
    told = str(error.value).splitlines()
    for text in ("search.step;", "search.batch_size:", "unknown key sed", "mgd.scheme", "--set:", "task.fractions.0"):
        assert len([line for line in told if text in line]) == 1, text
    assert len(told) == 7 and "did you mean digits?" in "".join(told)


def test_presets_state_whether_they_want_images() -> None:
    unnamed = {name for name in PRESETS if make_config(preset=name).task.data is None}
    assert unnamed == {"images", "cifar10-small", "hat-small", "mobilenet-small", "nb201-supernet", "nb201-paper"}
    assert make_config(preset="images", overrides=["task.data=digits"]).task.data == "digits"


def test_paths_are_made_absolute_and_words_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    for given, kept in (
        ("photos", str(tmp_path / "photos")),
        ("../x", str(tmp_path.parent / "x")),
        ("./digits", str(tmp_path / "digits")),
        ("~/photos", "/home/somebody/photos"),
        ("/data/photos", "/data/photos"),
        ("digits", "digits"),
    ):
        assert with_absolute_paths(make_config(overrides=[f"task.data={given}"])).task.data == kept
    for given, kept in (("t.csv", str(tmp_path / "t.csv")), ("help", "help"), ("./help", str(tmp_path / "help"))):
        config = make_config(preset="nb201", overrides=[f"devices.table={given}"])
        assert with_absolute_paths(config).devices.table == kept
    assert with_absolute_paths(make_config(preset="images")).task.data is None


def test_every_key_that_holds_a_path_is_known() -> None:
    """A key added later whose description speaks of a file or folder has its place in PATHS."""
    for section, field in Config.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            source = inspect.getsource(model)
            for key, inner in model.model_fields.items():
                described = source.partition(f"    {key}: ")[2].partition('\n    """')[2].partition('"""')[0]
                if "str" in str(inner.annotation) and re.search(r"\b(folder|file|path)\b", described):
                    assert (section, key) in PATHS, (section, key)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert make_config(file=written(tmp_path, "\ufeffseed: 7\n")).seed == 7


def test_the_tree_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        make_config().search.steps = 3


def test_validate_takes_a_plain_tree() -> None:
    assert validate({}) == Config() and validate({"seed": 3}).seed == 3


@pytest.mark.parametrize("kind", ["linear", "smooth_chebyshev", "cosine"])
def test_scalarization_parameters_fit_their_kind(kind: str) -> None:
    from modnas_fast.method.scalarize import make_scalarization

    config = make_config(overrides=[f"scalarization.kind={kind}"])
    assert callable(make_scalarization(kind, **config.scalarization.parameters()))


def test_every_key_says_what_it_means() -> None:
    def silent(model: type[BaseModel], of: str) -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                names += silent(inner, f"{of}{name}.")
            elif not any(
                documents(owner, name) for owner in model.__mro__ if owner.__module__.startswith("modnas_fast")
            ):
                names.append(of + name)
        return names

    def documents(owner: type, name: str) -> bool:
        try:
            source = inspect.getsource(owner)
        except (OSError, TypeError):  # put together of others
            return False
        return re.search(rf'^    {name}: [^\n]*\n    """\S', source, re.M) is not None

    assert silent(with_keys_of("nb201"), "") == []


def test_baselines_on_shared_weights_want_such() -> None:
    assert make_config(preset="gpt-small", overrides=["evaluation.baselines=true"]).evaluation.baselines
    with pytest.raises(InputError, match="evaluation.baselines: it compares on weights that were trained"):
        make_config(preset="nb201", overrides=["evaluation.baselines=true"])
