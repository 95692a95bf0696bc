"""data/README.md explains every column of every table and every field of every record."""

import json
import re

import pandas as pd
import pytest
from test_training import small_plan

from paperlib.pave.engine.training import Trainer
from paperlib.pave.experiments import load_experiment
from paperlib.pave.peer import peer_runs
from paperlib.repro import paths
from paperlib.repro.provenance import provenance
from paperlib.repro.store import RunStore

DATA = paths.data_folder()
README = (DATA / "README.md").read_text(encoding="utf-8")
STEP_SIZES = ("mass_spring_damper", "ship_steering")
HEADINGS = {("lqg", "runs"): "`runs` of `results/lqg`"} | {
    (experiment, "runs"): "`runs` of `results/mass_spring_damper`, `results/ship_steering`" for experiment in STEP_SIZES
}
RECORDS = list(RunStore(DATA / "results").records())


def names_in(text):
    """Names in backticks in the first cells of the tables of a text."""
    cells = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def explained(heading):
    """The columns explained under a heading."""
    section = README.split(f"\n### {heading}\n", 1)[1]
    return names_in(re.split(r"\n##+ ", section)[0])


def numbered(column):
    """theta_2 and action_0 are explained once, as theta_i and action_i."""
    return re.sub(r"^(theta|action)_\d+$", r"\1_i", column)


def test_every_column_of_every_recorded_table_is_explained():
    shapes = {
        (record.spec["experiment"], name, tuple(column for column, _ in columns))
        for record in RECORDS
        for name, columns in record.column_types.items()
    }
    assert {experiment for experiment, _, _ in shapes} >= {"published", "theory_critics", "lqg", *STEP_SIZES}
    for experiment, name, columns in shapes:
        known = explained(HEADINGS.get((experiment, name), f"`{name}`"))
        assert not {numbered(column) for column in columns} - known, f"{name} of {experiment}"


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_every_column_that_a_training_writes_is_explained_and_no_other(algorithm):
    (result,) = Trainer(small_plan(algorithm, ("pave",), final_episodes=1, checkpoint_every=250)).run()
    assert set(result.tables) == {
        *("evaluations", "training_episodes", "episodes", "geometry", "policy", "visited", "actions", "point"),
    }
    for name, table in result.tables.items():
        assert {numbered(column) for column in table.columns} == explained(f"`{name}`"), name


@pytest.mark.parametrize("folder", ["published", "results/benchmarks"])
def test_every_column_of_the_other_tables_is_explained_and_no_other(folder):
    files = sorted((DATA / folder).glob("*.csv"))
    assert files
    for file in files:
        assert set(pd.read_csv(file).columns) == explained(f"`{file.stem}`"), file.name


def parts_of(spec):
    """The fields of a specification and of the mappings in it."""
    return set(spec) | {name for value in spec.values() if isinstance(value, dict) for name in value}


def test_every_field_of_a_record_is_explained():
    section = README.split("\n## `record.json`\n", 1)[1].split("\n## ", 1)[0]
    known = set(re.findall(r"`([^`]+)`", section))
    for record in RECORDS:
        content = json.loads((record.folder / "record.json").read_text())["content"]
        fields = [content, content["provenance"], content["provenance"]["code"]]
        missing = {name for of in fields for name in of} | parts_of(content["spec"])
        assert not missing - known, f"{record.name}: {missing - known}"
    for run in (*load_experiment("published", "paper"), *peer_runs()[:1]):
        assert not parts_of(run.spec()) - known, run
    fresh = provenance("cpu", "float32", 1, 1.0, 1.0)
    assert not {*fresh, *fresh["arithmetic"]} - known
