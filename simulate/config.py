"""The experiment as data: YAML presets, `key=value` overrides, strict schemas, one-line errors."""

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from baselines import METHODS
from baselines.aggregation import AGGREGATIONS
from baselines.server import SERVER_OPTIMIZERS
from partitions.corpora import CORPORA
from partitions.partitioners import PARTITIONERS
from simulate.clients.training import TrainSettings
from simulate.engine.cohort import CohortSettings, cohort_size
from simulate.engine.evaluation import EvaluateSettings
from simulate.engine.executors import EngineSettings
from simulate.engine.faults import FaultSettings
from simulate.engine.prefix_cache import PrefixCacheSettings
from simulate.engine.records import WHERE, state_of
from simulate.method import MethodError
from simulate.models.backbone import ModelSettings
from simulate.registry import UnknownNameError, find, suggest
from simulate.settings import Settings

PARTS = {
    "corpus": CORPORA,
    "partition": PARTITIONERS,
    "method": METHODS,
    "aggregation": AGGREGATIONS,
    "server": SERVER_OPTIMIZERS,
}
"""The sections whose schema is that of the part they name."""

DEFAULT_PARTS = {"aggregation": "mean", "server": "average"}
"""What a section names where it is left out."""

UNION_BRANCH = re.compile(r"\[|^constrained-")
"""What pydantic puts into the location of an error to say which alternative of a type was tried."""

ALTERNATIVES = {
    "method": {"layers", "skip_ratio", "budgets"},
    "cohort": {"fraction", "count"},
    "train": {"local_epochs", "local_steps"},
}
"""Settings of which a change of one replaces the other."""

PRESETS = files("simulate") / "presets"

LONGEST_NAME = 100

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80

Schema = TypeVar("Schema", bound=BaseModel)


class ConfigError(ValueError):
    """Settings that cannot be used; the message names the key or file, the value, and what was expected."""


def _names_a_folder(name: str) -> str:
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or {"/", "\\"} & set(name):
        raise ValueError(f"expected 1 to {LONGEST_NAME} printable characters, none of them / or \\")
    return name


class Named(Settings):
    """What has a name that folders are called by, and that therefore leads into no other folder."""

    name: Annotated[str, AfterValidator(_names_a_folder)]


class Experiment(Named):
    """Corpus x partition x model x method x engine settings x seed.

    `corpus`, `partition`, `method`, `aggregation` and `server` are parts chosen by name: `parts` has the name, the
    field the instance.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    rounds: Annotated[int, Field(ge=1)] = 10
    corpus: Any
    model: ModelSettings = ModelSettings()
    partition: Any
    method: Any
    aggregation: Any
    server: Any
    train: TrainSettings = TrainSettings()
    cohort: CohortSettings = CohortSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    faults: FaultSettings | None = None
    prefix_cache: PrefixCacheSettings = PrefixCacheSettings()
    engine: EngineSettings = EngineSettings()
    parts: dict[str, str] = Field(exclude=True)

    def resolved(self) -> dict[str, Any]:
        """Every setting as plain data; `build` of it gives this experiment again."""
        data = self.model_dump(mode="json")
        return {key: {"name": self.parts[key], **value} if key in PARTS else value for key, value in data.items()}


def presets() -> dict[str, str]:
    """Name of each shipped preset -> the first comment line of its file, what it is."""
    found = sorted((file for file in PRESETS.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text().splitlines()[0].lstrip("# ") for file in found}


def load(source: str | Path, overrides: Sequence[str] = (), method: str | None = None) -> Experiment:
    """Read a preset or YAML file and apply overrides.

    Args:
        source: a preset's name, or the path of a YAML file (such as a run folder's config.yaml).
        overrides: ``key=value`` strings with dotted keys; values are YAML. `corpus`, `model`, `partition`, `method`,
            `aggregation` and `server` take a name; `corpus` also takes a folder.
        method: the method's name, as `method=NAME` among the overrides.

    Raises:
        ConfigError: one line that names the key or file.
    """
    base = read(source)
    changes = parse_overrides([*overrides, *([f"method={method}"] if method else [])])
    per_method = base.pop("per_method", {})
    chosen = changes.get("method", {}).get("name") or _named("method", base.get("method"), source).get("name")
    chosen = None if chosen is None else str(chosen)
    of_method = _of_method(per_method, chosen, source)
    merged = base
    for layer in ({"method": {"name": chosen}}, nested(of_method, source), changes):
        merged = merge(merged, layer)
    return build({"name": Path(source).stem, **merged})


def recorded(folder: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a run folder.

    Args:
        folder: the run folder.
        overrides: of settings, as for `load`.

    Raises:
        ConfigError: if there is no run in the folder.
    """
    config = folder / "config.yaml"
    if not config.is_file():
        raise ConfigError(f"{folder}: holds no run: there is no config.yaml in it")
    return load(config, overrides)


def resumable(folder: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a run folder, to go on with.

    Args:
        folder: the run folder.
        overrides: of engine settings that change nothing in what comes out, such as ``engine.workers=1``.

    Raises:
        ConfigError: if there is no run in the folder, its settings are not those of this version, or an override would
            make another experiment of it.
    """
    free = [f"engine.{key}" for key in WHERE]
    for override in overrides:
        if (key := override.partition("=")[0]) not in free:
            raise ConfigError(f"{key} cannot be changed in a run that goes on; only {', '.join(free)} can")
    experiment = recorded(folder, overrides)
    if state_of(folder, experiment.resolved()) == "new":
        raise ConfigError(
            f"{folder}: config.yaml does not hold all settings of a run as this version of skipfl has them; go on with "
            "the version that began it (environment.json names it)"
        )
    return experiment


def read(source: str | Path) -> dict[str, Any]:
    """The plain data of a preset or YAML file.

    Raises:
        ConfigError: if there is no such preset or file, or it is not a YAML mapping.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such file") from error
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 at byte {error.start + 1}") from error
    elif str(source) in presets():
        text = (PRESETS / f"{source}.yaml").read_text()
    else:
        raise ConfigError(f"unknown preset {str(source)!r}{suggest(str(source), presets())} (or give a .yaml file)")
    data = from_yaml(text, str(source))
    if not isinstance(data, dict):
        found = "nothing" if data is None else shown(data)
        raise ConfigError(f"{source}: expected a mapping of settings, got {found}")
    return {str(key): value for key, value in data.items()}


def name_of(source: str | Path) -> str:
    """The name of the experiments of a preset or YAML file, which their default folders are called by.

    Raises:
        ConfigError: as `read`, or if the name cannot be that of a folder.
    """
    return check(Named, {"name": read(source).get("name", Path(source).stem)}).name


def from_yaml(text: str, where: str) -> Any:
    """The plain data of a YAML text.

    Args:
        text: as the user wrote it.
        where: file or option, for the message.

    Raises:
        ConfigError: if it is not YAML, or holds what is no plain data.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = f", line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) and "\n" in text else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise ConfigError(f"{where}{line}: not YAML: {reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not YAML that can be read: nested too deeply") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # PyYAML's own, of dates and numbers that look like such and are none
        raise ConfigError(f"{where}: not YAML that can be read: {error}") from error


def shown(value: Any) -> str:
    """A value for a message, shortened."""
    return _SHORT.repr(value)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["train.lr=1e-3", "method=lora"]`` as nested data.

    Raises:
        ConfigError: if one is not ``key=value``, or its value is not YAML.
    """
    dotted: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip("."):
            raise ConfigError(f"override {shown(override)}: expected key=value, such as train.lr=1e-3")
        dotted[key] = from_yaml(value, f"override {shown(override)}")
    return nested(dotted, "overrides")


def build(data: Mapping[str, Any]) -> Experiment:
    """The experiment of plain data.

    Raises:
        ConfigError: at the first unknown key, unknown name, wrong type or value out of range, or settings that do not
            go together.
        MethodError: if the method is not defined for the local training, the aggregation or the server optimizer.
    """
    fields = dict(data)
    if "parts" in fields:
        raise ConfigError(f"unknown key parts{suggest('parts', Experiment.model_fields)}")
    chosen: dict[str, str] = {}
    for section, table in PARTS.items():
        settings = dict(_named(section, fields.get(section), "settings"))
        if (name := settings.pop("name", DEFAULT_PARTS.get(section))) is None:
            raise ConfigError(f"{section}.name is not set; known: {', '.join(sorted(table))}")
        chosen[section] = str(name)
        fields[section] = check(part(section, chosen[section]), settings, f"{section}.")
    experiment = check(Experiment, {**fields, "parts": chosen})
    experiment.method.check(experiment.train, experiment.server)
    if experiment.aggregation.title and (why := experiment.method.needs_mean):
        raise MethodError(f"{experiment.method.title} needs aggregation=mean, not {chosen['aggregation']}: {why}")
    _check_together(experiment)
    return experiment


def _check_together(experiment: Experiment) -> None:
    """Refuse settings of different sections that contradict each other."""
    clients, rounds = experiment.partition.clients, experiment.rounds
    if experiment.cohort.count is not None and experiment.cohort.count > clients:
        raise ConfigError(f"cohort.count = {experiment.cohort.count}, but there are {clients} clients")
    if experiment.train.warmup_rounds > rounds:
        raise ConfigError(f"train.warmup_rounds = {experiment.train.warmup_rounds}, but there are {rounds} rounds")
    if (warmup := getattr(experiment.method, "warmup_rounds", 0)) > rounds:
        raise ConfigError(f"method.warmup_rounds = {warmup}, but there are {rounds} rounds")
    if experiment.faults and not experiment.method.pooled:
        _check_faults(experiment.faults, clients, experiment.cohort)
        for key in ("max_norm", "byzantine"):
            if getattr(experiment.faults, key) and experiment.method.needs_mean:
                raise ConfigError(
                    f"faults.{key} is about changes of weights, and {experiment.method.title} sends more than these: "
                    "leave it out, or take another method"
                )


def _check_faults(faults: FaultSettings, clients: int, settings: CohortSettings) -> None:
    """Refuse faults that would strike nobody, or skip every round, among so many clients."""
    if faults.byzantine and not faults.liars(clients):
        raise ConfigError(f"faults.byzantine = {faults.byzantine:g} of {clients} clients is no client; give more")
    if (most := cohort_size(settings, clients)) < faults.min_clients:
        raise ConfigError(f"faults.min_clients = {faults.min_clients}, but a cohort has {most} clients; give fewer")


def check(schema: type[Schema], data: Mapping[str, Any], prefix: str = "") -> Schema:
    """Validate data, with the first mistake as a one-line `ConfigError`."""
    for key, value in _misplaced_booleans(schema, data):
        raise ConfigError(f"{prefix}{key} = {shown(value)}: expected a value other than yes or no")
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = prefix + ".".join(place for place in map(str, first["loc"]) if not UNION_BRANCH.search(place))
        if first["type"] == "extra_forbidden":
            known = {prefix + name for name in _fields(schema, first["loc"][:-1])}
            raise ConfigError(f"unknown key {key}{suggest(key, known, schema.__name__)}") from error
        if first["type"] == "missing":
            raise ConfigError(f"{key} is not set: {schema.__name__} needs it") from error
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "model_type":
            message = "expected a mapping of settings"
        where = key.rstrip(".") or schema.__name__
        raise ConfigError(
            f"{where} = {shown(first['input'])}: {message}" if first["loc"] else f"{where}: {message}"
        ) from error


def _misplaced_booleans(schema: type[BaseModel], data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of the booleans, or lists of them, that pydantic would read as numbers."""
    for name, value in data.items():
        kind = schema.model_fields[name].annotation if name in schema.model_fields else Any
        if isinstance(value, Mapping) and (inner := _schema(kind)):
            yield from ((f"{name}.{key}", item) for key, item in _misplaced_booleans(inner, value))
        elif not {bool, Any} & set(_types(kind)):
            items = value if isinstance(value, list) else [value]
            yield from ((name, value) for item in items if isinstance(item, bool))


def _schema(annotation: Any) -> type[BaseModel] | None:
    """The settings that an annotation stands for; None where it stands for a value, or for a part by its name."""
    return next((kind for kind in _types(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _types(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


def _fields(schema: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Dotted names of the fields beside a location within a schema."""
    for part in location:
        inner = schema.model_fields[str(part)].annotation
        schema = next(kind for kind in (inner, *get_args(inner)) if isinstance(kind, type))
    return [".".join([*map(str, location), name]) for name in schema.model_fields if name != "parts"]


def part(section: str, name: Any) -> type[BaseModel]:
    """The class that a name means in a section (corpus, partition, method or server).

    Raises:
        ConfigError: if nothing has that name.
    """
    try:
        return find(section, PARTS[section], str(name))
    except UnknownNameError as error:
        raise ConfigError(str(error)) from error


def _named(section: str, value: Any, source: object) -> dict[str, Any]:
    """A section as a mapping: a bare name (or, for the corpus, a folder) becomes its settings."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if section == "corpus" and str(value) not in CORPORA and (Path(str(value)).is_dir() or "/" in str(value)):
        return {"name": "jsonl", "path": str(value)}
    if section in (*PARTS, "model") and isinstance(value, str):
        return {"name": value}
    raise ConfigError(f"{source}: {section} = {shown(value)}: expected a name or a mapping of settings")


def _of_method(per_method: Any, chosen: Any, source: object) -> dict[str, Any]:
    """The settings of `per_method` for the chosen method, after checking all of it."""
    if not isinstance(per_method, Mapping):
        raise ConfigError(f"{source}: per_method = {shown(per_method)}: expected methods with their settings")
    for name, settings in per_method.items():
        part("method", name)
        if not isinstance(settings, Mapping) or {"method", "method.name"} & settings.keys():
            raise ConfigError(
                f"{source}: per_method.{name} = {shown(settings)}: expected settings such as {{train.lr: 0.01}}"
            )
        for key in settings:
            _check_key(str(key), str(name), f"{source}: per_method.{name}")
    return dict(per_method.get(chosen, {}))


def _check_key(key: str, method: str, where: str) -> None:
    """Refuse a dotted key that is no setting, as far as that does not depend on the name of another part."""
    section, _, name = key.partition(".")
    schema: Any = Experiment
    prefix, known = "", section
    if name and section in Experiment.model_fields:
        schema = part("method", method) if section == "method" else _schema(Experiment.model_fields[section].annotation)
        prefix, known = f"{section}.", name.partition(".")[0]
    if schema is None or known in schema.model_fields:
        return
    fields = [prefix + field for field in schema.model_fields if field != "parts"]
    raise ConfigError(f"{where}: unknown key {key}{suggest(key, fields)}")


def nested(dotted: Mapping[str, Any], source: object) -> dict[str, Any]:
    """Dotted keys as nested mappings."""
    nested: dict[str, Any] = {}
    for key, value in dotted.items():
        *outer, last = str(key).split(".")
        level = nested
        for section in outer:
            level = level.setdefault(section, {})
            if not isinstance(level, dict):
                raise ConfigError(f"{source}: {key} is given, but {section} is a single value")
        if not outer and (last in PARTS or last == "model"):
            if value is None:
                raise ConfigError(f"{source}: {key} is empty; expected a name")
            level.setdefault(last, {}).update(_named(last, value, source))
        elif isinstance(value, Mapping) and isinstance(level.get(last), dict):
            level[last].update(value)
        else:
            level[last] = value
    return nested


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes laid over them.

    Another corpus or method starts from its own defaults; another partitioner keeps the settings that it shares. Of
    `ALTERNATIVES` the changed one counts. A `corpus.path` given for a corpus without one chooses the jsonl corpus.
    """
    merged = dict(base)
    for section, change in changes.items():
        if section not in (*PARTS, "model") and not isinstance(change, Mapping):
            merged[section] = change
            continue
        before = _named(section, base.get(section), "settings")
        change = dict(change)
        if section == "corpus" and "name" not in change and "path" in change and "name" in before:
            change["name"] = before["name"] if "path" in part(section, before["name"]).model_fields else "jsonl"
        if section in PARTS and change.get("name", before.get("name")) != before.get("name"):
            known = part(section, change["name"]).model_fields if section == "partition" else ()
            before = {key: value for key, value in before.items() if key in known}
        given = ALTERNATIVES.get(section, set()).intersection(change)
        if len(given) > 1:
            raise ConfigError(f"{section}: give {' or '.join(sorted(given))}, not both")
        dropped = ALTERNATIVES.get(section, set()) - given if given else set()
        merged[section] = {key: value for key, value in before.items() if key not in dropped} | change
    return merged
