"""Experiments: which runs a file under data/experiments asks for, and training those that the run store lacks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import torch

from paperlib.pave.engine import training
from paperlib.pave.engine.device_memory import bytes_per_run, runs_that_fit
from paperlib.pave.engine.environments import environment_definition, environment_spec, fastest_backend
from paperlib.pave.engine.machine import default_device
from paperlib.pave.engine.settings import (
    AlgorithmSettings,
    Coefficients,
    published_coefficients,
    published_seeds,
    published_settings,
    published_steps,
)
from paperlib.pave.engine.training import CHECKPOINT_FILE, Trainer, TrainingPlan, TrainingResult
from paperlib.repro import paths
from paperlib.repro.code_revision import code_revision
from paperlib.repro.definitions import TRAINING, definition_file, load_definition
from paperlib.repro.progress import Progress
from paperlib.repro.provenance import provenance
from paperlib.repro.recording import records_of
from paperlib.repro.store import Record, RunStore
from paperlib.repro.workers import side_by_side


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run of an experiment, on one kind of device fully determined but for rounding."""

    experiment: str
    environment: str
    method: str
    seed: int
    coefficients: Coefficients
    settings: AlgorithmSettings
    budget: Budget
    methods_in: str | None = None  # the file that registers terms of the experiment's own

    @property
    def algorithm(self) -> str:
        """The algorithm, "td3" or "sac"."""
        return self.settings.algorithm

    @property
    def label(self) -> str:
        """As in "pendulum td3 base, seed 178132"."""
        return f"{self.environment} {self.algorithm} {self.method}, seed {self.seed}"

    def spec(self) -> dict:
        """What names the run in the store: all that decides its numbers.

        Of settings and coefficients only what has a part in the run, so that those of other methods, and of methods to
        come, leave its name alone; of the environments only the run's own. Of a file of own terms its content counts.
        """
        values = dataclasses.asdict(self)
        file = values.pop("methods_in")
        own = {} if file is None else {"methods": hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}
        spec = (
            values
            | own
            | {
                "coefficients": self.coefficients.named(),
                "settings": self.settings.named(),
                "task": dataclasses.asdict(environment_definition(self.environment)),
                "backend": fastest_backend(self.environment),
                "code": _code(),
            }
        )
        return json.loads(json.dumps(spec))


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a run trains and how it is evaluated; see `TrainingPlan`."""

    steps: int
    evaluate_every: int
    evaluation_episodes: int
    final_episodes: int
    checkpoint_every: int


WORTH_COMPILING = 3000  # environment steps: compiling takes some twenty seconds


@cache
def _code() -> str:
    return code_revision(training)


def load_experiment(name: str, profile: str) -> list[Run]:
    """The runs that data/experiments/<name>.yaml asks for at a profile; or a file of one's own, given as name.yaml.

    Environments are those of data/environments.yaml, by name, or any of Gymnasium's ids, with `steps` of one's own.
    Values under the profile override those above; `settings` overrides published settings; `steps: published`, or with
    `share` that share of them, and `seeds: N` (the first N published seeds) are read from the published settings. A
    mapping by algorithm is allowed wherever a number is. `variants` names methods of the file's own: a published one
    with other coefficients, probes or critic; without `methods` they are all that is run. `methods_in` names a Python
    file beside the experiment's that registers terms of one's own (`actor_terms.register`), whose weights are then
    coefficients.
    """
    definition, file = load_definition(name, TRAINING, profile), definition_file(name)
    values = definition | definition["profiles"][profile]
    if "methods_in" in values:
        values["methods_in"] = str((file.parent / values["methods_in"]).resolve())
        load_methods(values["methods_in"])
    return [
        _run(file.stem, values, environment, algorithm, method, seed)
        for environment in values["environments"]
        for algorithm in values["algorithms"]
        for method in _by(algorithm, values.get("methods") or list(values["variants"]))
        for seed in published_seeds()[: values["seeds"]]
    ]


@cache
def load_methods(file: str) -> None:
    """Execute a file that registers terms, once a process."""
    specification = spec_from_file_location(f"methods_in_{Path(file).stem}", file)
    if specification is None or specification.loader is None or not Path(file).is_file():
        raise FileNotFoundError(f"methods_in: {file} is no Python file")
    specification.loader.exec_module(module_from_spec(specification))


def _run(name: str, values: dict, environment: str, algorithm: str, method: str, seed: int) -> Run:
    environment_definition(environment)  # an unknown one is told now
    budget = {field.name: _by(algorithm, values[field.name]) for field in dataclasses.fields(Budget)}
    if budget["steps"] == "published":
        budget["steps"] = round(values.get("share", 1) * published_steps(environment))
    overrides = values.get("settings", {})
    overrides = overrides.get("both", {}) | overrides.get(algorithm, {})
    variant = dict(values.get("variants", {}).get(method, {}))
    overrides |= {name: variant.pop(name) for name in ("probes", "spectral_critic") if name in variant}
    settings = dataclasses.replace(published_settings(algorithm, environment), **overrides)
    coefficients = published_coefficients(variant.pop("method", method), algorithm, environment)
    coefficients = coefficients.with_values(**variant)
    return Run(name, environment, method, seed, coefficients, settings, Budget(**budget), values.get("methods_in"))


def _by(algorithm: str, value):
    return value[algorithm] if isinstance(value, dict) else value


@dataclasses.dataclass(frozen=True)
class Hardware:
    """Where and how runs train; no part of what a run is, which its provenance tells.

    device: "cuda" where there is one, else "cpu", unless given. Its own generator draws the random numbers, so a run
        on the other device is another draw of the same; otherwise numbers differ by rounding only.
    compiled: see `ActorCritic`; unless given, for trainings long enough to win back the time that compiling takes.
    captured: see `ActorCritic`; unless given, on a CUDA device.
    """

    device: str = dataclasses.field(default_factory=default_device)
    compiled: bool | None = None
    captured: bool | None = None

    def switches(self, steps: int) -> dict[str, bool]:
        """The two switches for trainings of `steps` environment steps."""
        on_cuda = torch.device(self.device).type == "cuda"
        return {
            "compiled": steps >= WORTH_COMPILING if self.compiled is None else self.compiled,
            "captured": on_cuda if self.captured is None else self.captured,
        }


def train(runs: Sequence[Run], store: RunStore, hardware: Hardware | None = None, *, workers: int = 1) -> list[Record]:
    """The records of `runs`, one each in order; those the store lacks are trained first, as few programs as possible.

    Runs of one environment and algorithm that compute the same terms train together. Interrupted training goes on
    from its last checkpoint. Progress bars go to the terminal.

    workers: groups that train at the same time, each in a process of its own; the first failure stops the rest.
    """
    hardware, groups = hardware or Hardware(), group_runs(runs)
    side_by_side(train_group, [(group, store, hardware) for group in groups], store.root, workers=workers)
    return records_of(runs, store)


def train_group(group: list[Run], store: RunStore, hardware: Hardware) -> None:
    """Train those runs of a group that the store lacks, in as many programs as the device's memory asks for."""
    if group[0].methods_in is not None:  # a process of its own has not read the experiment
        load_methods(group[0].methods_in)
    with store.claim_missing([run.spec() for run in group]) as missing:
        if not missing:
            return
        folder = _work_folder(group, store)
        # A kill between the saves of one batch leaves its checkpoint: finish that batch as it was begun.
        begun = (folder / CHECKPOINT_FILE).exists() or (folder / PARTS_FILE).exists()
        batch = [run for run in group if begun or run.spec() in missing]
        todo = _parts(batch, store, hardware)
        while todo:
            part = todo.pop(0)
            if store.missing([run.spec() for run in part]):
                try:
                    _train_batch(part, store, hardware)
                except torch.OutOfMemoryError:
                    shutil.rmtree(_work_folder(part, store))
                    todo = _note_parts(batch, _halves(part) + todo, store)


PARTS_FILE = "parts.json"
"""In the work folder of a batch that does not fit into memory: the names of the runs that train together."""


def _parts(batch: list[Run], store: RunStore, hardware: Hardware) -> list[list[Run]]:
    """The batch in parts that fit into the device's free memory; as noted before, if training was interrupted."""
    file = _work_folder(batch, store) / PARTS_FILE
    if file.exists():
        by_name = {store.name(run.spec()): run for run in batch}
        with suppress(OSError, ValueError, TypeError):  # a damaged file: divide anew
            noted = json.loads(file.read_text())
            if sorted(name for names in noted for name in names) == sorted(by_name):
                return [[by_name[name] for name in names] for names in noted]
    run, spec = batch[0], environment_spec(batch[0].environment)
    each = bytes_per_run(run.settings, run.budget.steps, spec.observation_dim, spec.action_dim)
    fit = runs_that_fit(hardware.device, each)
    if fit >= len(batch):
        return [batch]
    return _note_parts(batch, [batch[i : i + fit] for i in range(0, len(batch), fit)], store)


def _halves(part: list[Run]) -> list[list[Run]]:
    if len(part) == 1:
        raise MemoryError(f"one run alone does not fit into the device's memory: {_label(part)}")
    return [part[: len(part) // 2], part[len(part) // 2 :]]


def _note_parts(batch: list[Run], parts: list[list[Run]], store: RunStore) -> list[list[Run]]:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    names = [[store.name(run.spec()) for run in part] for part in parts]
    paths.write_atomically(_work_folder(batch, store) / PARTS_FILE, json.dumps(names))
    return parts


def group_runs(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that can train as one program."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        terms = run.coefficients.terms()
        key = (run.experiment, run.environment, run.settings, run.budget, terms, run.methods_in)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _work_folder(batch: list[Run], store: RunStore) -> Path:
    return store.work_folder(*(run.spec() for run in batch))


def _train_batch(batch: list[Run], store: RunStore, hardware: Hardware) -> None:
    plan = TrainingPlan(
        environment=batch[0].environment,
        settings=batch[0].settings,
        seeds=tuple(run.seed for run in batch),
        coefficients=tuple(run.coefficients for run in batch),
        backend=fastest_backend(batch[0].environment),
        device=hardware.device,
        **hardware.switches(batch[0].budget.steps),
        **dataclasses.asdict(batch[0].budget),
    )
    work_folder = _work_folder(batch, store)
    trainer = Trainer(plan, work_folder)
    results = trainer.run(Progress(_label(batch), plan.steps, work_folder))
    speed = len(batch) * plan.steps / trainer.seconds
    where_from = provenance(plan.device, plan.dtype, len(batch), trainer.seconds, speed)
    where_from |= {"precision": plan.settings.precision}
    for run, result in zip(batch, results, strict=True):
        _save(store, run, result, where_from)


def _save(store: RunStore, run: Run, result: TrainingResult, where_from: dict) -> None:
    files = {} if result.networks is None else {"networks.pt": result.networks}
    diverged = result.diverged_at_step
    store.save(run.spec(), result.tables, provenance=where_from, diverged_at_step=diverged, files=files)


def _label(batch: list[Run]) -> str:
    methods = "+".join(dict.fromkeys(run.method for run in batch))
    return f"{batch[0].environment} {batch[0].algorithm} {methods}, {len(batch)} runs"


def tidy(records: Iterable[Record], table: str) -> pd.DataFrame:
    """One table of many records, a run's environment, algorithm, method and seed in the first columns.

    Runs without the table (diverged before it was written) are left out.
    """
    parts = []
    for record in records:
        if table not in record.column_types:
            continue
        part = record.table(table)
        run = {key: record.spec[key] for key in ("environment", "method", "seed")}
        run["algorithm"] = record.spec["settings"]["algorithm"]
        for position, key in enumerate(("environment", "algorithm", "method", "seed")):
            part.insert(position, key, run[key])
        parts.append(part)
    if not parts:
        raise ValueError(f"none of the records has a table {table!r}")
    return pd.concat(parts, ignore_index=True)
