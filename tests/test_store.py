"""The run store: names, exact tables, damage, killed writers, full disks and several processes at once."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.repro import store as store_module
from paperlib.repro.provenance import provenance
from paperlib.repro.store import DamagedRecord, DamagedRecordWarning, RunIsBusy, RunStore, exclusive

PROVENANCE = {"device": "cpu", "wall_time_s": 1.5}
RETURNS = pd.DataFrame({"episode": [0, 1, 2], "return": [0.1, -1 / 3, 1e-300], "method": ["pave", "", 'a "b",\nc']})


def spec_of(seed: int) -> dict:
    return {"experiment": "pendulum", "seed": seed, "lambda": [0.1, 1.0]}


def save(store: RunStore, seed: int, weights: bytes = b"\x00\xff" * 50):
    return store.save(spec_of(seed), {"returns": RETURNS}, provenance=PROVENANCE, files={"actor.pt": weights})


def assert_intact(record, seed: int, weights: bytes = b"\x00\xff" * 50) -> None:
    assert record.spec == spec_of(seed) and record.status == "finished" and record.provenance == PROVENANCE
    pd.testing.assert_frame_equal(record.table("returns"), RETURNS, check_exact=True)
    assert record.file("actor.pt") == weights


def start_child(action: Callable[[], None]) -> int:
    """Fork, run ``action`` and exit with 0, or with 1 if it raised; gives the process id."""
    process = os.fork()
    if process:
        return process
    signal.alarm(60)  # a deadlock ends as a failure
    try:
        action()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


# --- Names ------------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
specs = st.dictionaries(st.text(max_size=5), json_values, max_size=4).map(lambda rest: rest | {"experiment": "any"})


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=50, deadline=None)
@given(specs)
def test_a_name_does_not_depend_on_key_order(spec):
    assert RunStore("unused").name(spec) == RunStore("unused").name(reversed_keys(spec))


@settings(max_examples=50, deadline=None)
@given(specs, specs)
def test_names_differ_exactly_where_specifications_do(one, other):
    # repr of sorted content tells 1 from 1.0 and from True, as the name must.
    def content(value):
        if isinstance(value, dict):
            return sorted((key, content(item)) for key, item in value.items())
        return [content(item) for item in value] if isinstance(value, list) else value

    names = RunStore("unused").name(one), RunStore("unused").name(other)
    assert (names[0] == names[1]) == (repr(content(one)) == repr(content(other)))


def test_a_name_is_the_same_today_as_when_records_were_made():
    # printf '{"experiment":"pendulum","seed":1}' | sha256sum
    assert RunStore("unused").name({"seed": 1, "experiment": "pendulum"}) == "pendulum-d7bc1a1d14d9f01f"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"seed": 1}, "experiment is None"),
        ({"experiment": "../away"}, "experiment is '../away'"),
        ({"experiment": "damaged"}, "experiment is 'damaged'"),
        ({"experiment": "e", "options": {"rate": float("nan")}}, r"spec\.options\.rate is nan"),
        ({"experiment": "e", "rate": float("inf")}, r"spec\.rate is inf"),
        ({"experiment": "e", "seeds": [1, np.int64(2)]}, r"spec\.seeds\[1\] is a int64"),
        ({"experiment": "e", "options": {1: "x"}}, r"spec\.options has the key 1"),
        ({"experiment": "e", "when": {1, 2}}, r"spec\.when is a set"),
        ("e", "mapping, not a str"),
    ],
)
def test_a_specification_json_cannot_hold_is_refused_with_its_place(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RunStore("unused").name(bad)


# --- Records ----------------------------------------------------------------------------------------------------------


def test_a_saved_run_is_found_again_as_it_was(tmp_path):
    store = RunStore(tmp_path / "runs")
    assert store.find(spec_of(1)) is None
    assert not store.root.exists(), "looking for a run must not write"
    saved = save(store, 1)
    found = RunStore(tmp_path / "runs").find(spec_of(1))
    assert found == saved
    assert found.folder == tmp_path / "runs" / "pendulum" / found.name.removeprefix("pendulum-")
    assert_intact(found, 1)
    with pytest.raises(KeyError, match="no table 'losses'"):
        found.table("losses")
    with pytest.raises(KeyError, match="no file 'critic.pt'"):
        found.file("critic.pt")


columns_of_any_type = st.integers(0, 4).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            "float64": st.lists(st.floats(), min_size=rows, max_size=rows),
            "float32": st.lists(st.floats(width=32), min_size=rows, max_size=rows),
            "int64": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows),
            "uint64": st.lists(st.integers(0, 2**64 - 1), min_size=rows, max_size=rows),
            "bool": st.lists(st.booleans(), min_size=rows, max_size=rows),
            "object": st.lists(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=rows, max_size=rows
            ),
        }
    )
)


@settings(max_examples=60, deadline=None)
@given(columns_of_any_type)
def test_tables_survive_bit_for_bit(columns):
    table = pd.DataFrame({name: pd.Series(values, dtype=name) for name, values in columns.items()})
    column_types = store_module._column_types(table, "any")
    again = store_module._decode_table(store_module._encode_table(table, column_types), column_types)
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    for name in ("float64", "float32"):
        finite = ~np.isnan(table[name].to_numpy())
        assert np.array_equal(np.signbit(again[name])[finite], np.signbit(table[name])[finite])


def test_saving_a_run_again_keeps_the_first_record(tmp_path):
    store = RunStore(tmp_path)
    first = save(store, 1)
    again = store.save(spec_of(1), {}, provenance={}, diverged_at_step=3)
    assert again == first
    assert_intact(store.find(spec_of(1)), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_finished_run_with_a_non_finite_value_is_refused_with_its_place(tmp_path, bad):
    table = pd.DataFrame({"step": [0, 10], "loss": [0.5, bad]})
    store = RunStore(tmp_path)
    with pytest.raises(ValueError, match=rf"table 'curve', column 'loss', row 1 is {bad}.*diverged_at_step"):
        store.save(spec_of(1), {"curve": table}, provenance=PROVENANCE)
    assert store.find(spec_of(1)) is None


def test_a_diverged_run_keeps_its_step_and_what_was_measured(tmp_path):
    table = pd.DataFrame({"step": [0, 10, 20], "loss": [0.5, np.inf, np.nan]})
    store = RunStore(tmp_path)
    store.save(spec_of(1), {"curve": table}, provenance=PROVENANCE, diverged_at_step=10)
    record = store.find(spec_of(1))
    assert (record.status, record.diverged_at_step) == ("diverged", 10)
    pd.testing.assert_frame_equal(record.table("curve"), table, check_exact=True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"a": [1.0]}, index=["x"]), "index of its own"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "distinct"),
        (pd.DataFrame({"a": ["x", None]}), "column 'a' has type object"),
        (pd.DataFrame({"a": [1, "x"]}), "column 'a' has type object"),
        (pd.DataFrame({"a": ["x\0y"]}), "column 'a' has a text with a NUL"),
        (pd.DataFrame({"a": pd.to_datetime(["2026-01-01"])}), "column 'a' has type datetime64"),
        (pd.DataFrame(), "distinct non-empty"),
        ([[1, 2]], "not a DataFrame"),
    ],
)
def test_a_table_that_csv_would_change_is_refused(tmp_path, table, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RunStore(tmp_path).save(spec_of(1), {"any": table}, provenance={})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"files": {"../x": b""}}, "no name for a record's file"),
        ({"files": {"record.json": b""}}, "no name for a record's file"),
        ({"files": {"returns.csv": b""}}, "name of a table"),
        ({"files": {"x": "text"}}, "not bytes"),
        ({"diverged_at_step": -1}, "diverged_at_step is -1"),
        ({"provenance": {"speed": float("nan")}}, r"provenance\.speed is nan"),
    ],
)
def test_bad_input_to_save_is_refused_before_anything_is_written(tmp_path, arguments, message):
    store = RunStore(tmp_path / "runs")
    with pytest.raises((TypeError, ValueError), match=message):
        store.save(spec_of(1), {"returns": RETURNS}, **({"provenance": {}} | arguments))
    assert not store.root.exists()


def test_records_are_listed_by_experiment_and_damaged_ones_left_out(tmp_path):
    store = RunStore(tmp_path)
    for seed in range(3):
        save(store, seed)
    other = store.save({"experiment": "hopper"}, {}, provenance={})
    store.work_folder(spec_of(7))
    (store.find(spec_of(1)).folder / "returns.csv").unlink()
    with pytest.warns(DamagedRecordWarning, match="returns.csv is missing"):
        found = list(store.records("pendulum"))
    assert sorted(record.spec["seed"] for record in found) == [0, 2]
    assert [record.name for record in store.records()] == [other.name] + [record.name for record in found]


def test_a_work_folder_lasts_until_its_run_is_saved(tmp_path):
    store = RunStore(tmp_path)
    (store.work_folder(spec_of(1)) / "checkpoint.pt").write_bytes(b"half way")
    other = store.work_folder(spec_of(2))
    assert (store.work_folder(spec_of(1)) / "checkpoint.pt").read_bytes() == b"half way"
    folder = store.work_folder(spec_of(1))
    save(store, 1)
    assert not folder.exists() and other.exists()


def test_a_folder_of_several_runs_lasts_until_all_are_saved(tmp_path):
    store = RunStore(tmp_path)
    folder = store.work_folder(spec_of(1), spec_of(2))
    assert folder == store.work_folder(spec_of(1), spec_of(2)) != store.work_folder(spec_of(1))
    save(store, 1)
    assert folder.exists()
    save(store, 2)
    assert not folder.exists()


def test_a_writer_killed_after_its_last_save_leaves_nothing_that_looks_unfinished(tmp_path, monkeypatch):
    store, specs = RunStore(tmp_path), [spec_of(1), spec_of(2)]
    folder = store.work_folder(*specs)
    with monkeypatch.context() as killed:
        killed.setattr(RunStore, "clear_leftovers", lambda *_: None)
        for seed in (1, 2):
            save(store, seed)
    assert folder.exists()
    with store.claim_missing(specs) as missing:
        assert missing == []
    assert not folder.exists()


# --- Damage -----------------------------------------------------------------------------------------------------------


def assert_damage_is_detected(store: RunStore, pristine: Path, damage: Callable[[Path], None]) -> None:
    """Copy the pristine record into place, damage it, and require that it is set aside and can be made again."""
    folder = store.root / "pendulum" / pristine.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    damage(folder)
    aside = len(list(store.root.glob("damaged/*")))
    with pytest.warns(DamagedRecordWarning):
        assert store.find(spec_of(1)) is None
    assert not folder.exists()
    assert len(list(store.root.glob("damaged/*"))) == aside + 1


@pytest.fixture
def pristine(tmp_path) -> Path:
    """The folder of an undamaged record of seed 1, in a store of its own."""
    return save(RunStore(tmp_path / "pristine"), 1).folder


@pytest.mark.parametrize("file_name", ["record.json", "returns.csv", "actor.pt"])
def test_a_truncated_file_makes_the_run_missing(tmp_path, pristine, file_name):
    store, size = RunStore(tmp_path / "runs"), (pristine / file_name).stat().st_size
    for length in (0, 1, size // 2, size - 1):
        assert_damage_is_detected(store, pristine, lambda folder, n=length: os.truncate(folder / file_name, n))
    assert_intact(save(store, 1), 1)


@pytest.mark.parametrize("file_name", ["record.json", "returns.csv", "actor.pt"])
def test_a_flipped_bit_makes_the_run_missing(tmp_path, pristine, file_name):
    def flip(folder: Path, byte: int, bit: int) -> None:
        data = bytearray((folder / file_name).read_bytes())
        data[byte] ^= 1 << bit
        (folder / file_name).write_bytes(data)

    store, size = RunStore(tmp_path / "runs"), (pristine / file_name).stat().st_size
    generator = random.Random(0)
    for byte in {0, size - 1, *(generator.randrange(size) for _ in range(20))}:
        bit = generator.randrange(8)
        assert_damage_is_detected(store, pristine, lambda folder, at=byte, bit=bit: flip(folder, at, bit))


def test_missing_files_and_foreign_records_are_damage(tmp_path, pristine):
    store = RunStore(tmp_path / "runs")
    for file_name in ("record.json", "returns.csv", "actor.pt"):
        assert_damage_is_detected(store, pristine, lambda folder, name=file_name: (folder / name).unlink())
    foreign = save(RunStore(tmp_path / "other"), 2).folder / "record.json"
    assert_damage_is_detected(store, pristine, lambda folder: shutil.copy(foreign, folder / "record.json"))


def link_to_itself(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("name", ["record.json", "returns.csv", "actor.pt", "."])
def test_a_link_to_itself_is_damage(tmp_path, name):
    store = RunStore(tmp_path)
    folder = save(store, 1).folder
    link_to_itself(folder / name)
    with pytest.warns(DamagedRecordWarning, match="is missing; moved to"):
        assert list(store.records()) == []
    assert_intact(save(store, 1), 1)
    link_to_itself(folder / name)
    with pytest.warns(DamagedRecordWarning, match="is missing; moved to"):
        assert_intact(save(store, 1), 1)


def rewrite(folder: Path, change: Callable[[dict], object]) -> None:
    """Change the content of a record.json and give it the checksum that fits."""
    content = json.loads((folder / "record.json").read_bytes())["content"]
    change(content)
    (folder / "record.json").write_bytes(store_module._encode_record(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((lambda content, key=key: content.pop(key), "shape") for key in ("spec", "status", "contents", "provenance")),
        (lambda content: content.update(format=2), "not of format 1"),
        (lambda content: content.update(notes="more"), "shape"),
        (lambda content: content.update(spec=[1]), "shape"),
        (lambda content: content.update(contents=["returns.csv"]), "shape"),
        (lambda content: content.update(status="half"), "shape"),
        (lambda content: content["contents"].update({"../../x": content["contents"].pop("actor.pt")}), "shape"),
        (lambda content: content["column_types"].update(losses=[["a", "float64"]]), "shape"),
        (lambda content: content["column_types"].update(returns=[["a", "money"]]), "shape"),
    ],
)
def test_a_record_of_another_shape_is_damage_and_no_bare_error(tmp_path, change, message):
    store = RunStore(tmp_path)
    shutil.copy(save(store, 1).folder / "actor.pt", tmp_path / "x")
    rewrite(store.find(spec_of(1)).folder, change)
    with pytest.warns(DamagedRecordWarning, match=message):
        assert list(store.records()) == []


def test_a_record_without_a_format_number_is_read_as_the_first_format(tmp_path):
    store = RunStore(tmp_path)
    rewrite(save(store, 1).folder, lambda content: content.pop("format"))
    assert_intact(store.find(spec_of(1)), 1)


@pytest.fixture
def three_records(tmp_path) -> RunStore:
    store = RunStore(tmp_path)
    for seed in range(3):
        save(store, seed)
    return store


def seeds(store: RunStore) -> list[int]:
    return sorted(record.spec["seed"] for record in store.records())


def test_a_record_that_cannot_be_read_stays_and_hides_no_other(three_records, monkeypatch):
    folder, read_bytes = three_records.find(spec_of(1)).folder, Path.read_bytes

    def refuse(path):
        if path.parent == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.warns(DamagedRecordWarning, match="record.json cannot be read .Permission denied"):
            assert seeds(three_records) == [0, 2]
        with pytest.warns(DamagedRecordWarning), pytest.raises(DamagedRecord, match="stays in place"):
            save(three_records, 1)
    assert seeds(three_records) == [0, 1, 2]


def test_a_damaged_record_on_a_disk_that_cannot_be_written_hides_no_other(three_records, monkeypatch):
    folder = three_records.find(spec_of(1)).folder
    os.truncate(folder / "returns.csv", 3)

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("mkdir", "rename"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.warns(DamagedRecordWarning, match="Read-only file system"):
        assert seeds(three_records) == [0, 2]
    assert folder.exists()


def test_a_damaged_committed_record_is_reported_with_the_cure_and_stays(three_records):
    committed = RunStore(three_records.root, committed=True)
    damaged = committed.find(spec_of(1)).folder / "returns.csv"
    before = sorted(three_records.root.rglob("*"))
    os.truncate(damaged, 3)
    with pytest.warns(DamagedRecordWarning, match=f"has 3 bytes.*`git checkout {three_records.root}` restores it"):
        assert committed.find(spec_of(1)) is None
    with pytest.warns(DamagedRecordWarning):
        assert seeds(committed) == [0, 2]
    with pytest.warns(DamagedRecordWarning), pytest.raises(DamagedRecord, match="git checkout"):
        save(committed, 1)
    assert sorted(three_records.root.rglob("*")) == before


def test_saving_over_a_damaged_record_replaces_it(tmp_path):
    store = RunStore(tmp_path)
    os.truncate(save(store, 1).folder / "actor.pt", 3)
    with pytest.warns(DamagedRecordWarning, match="actor.pt has 3 bytes instead of 100"):
        record = save(store, 1)
    assert_intact(record, 1)


def test_damage_after_the_record_was_found_is_not_read(tmp_path):
    record = save(RunStore(tmp_path), 1)
    (record.folder / "returns.csv").write_bytes(b"x" * (record.folder / "returns.csv").stat().st_size)
    with pytest.raises(DamagedRecord, match="returns.csv does not match"):
        record.table("returns")


# --- Killed writers ---------------------------------------------------------------------------------------------------


def kill_at_line(event_number: int) -> None:
    """Arrange that this process is killed when it is about to execute its n-th line of the run store's module."""
    remaining = event_number

    def trace(frame, event, argument):
        nonlocal remaining
        if frame.f_code.co_filename != store_module.__file__:
            return None
        if event == "line":
            remaining -= 1
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def save_with_claim(store: RunStore, seed: int) -> None:
    with store.claim(spec_of(seed)):
        save(store, seed)


def lines_of_a_save(store: RunStore) -> int:
    """How many lines of the store's module the second save into a store executes; the first also makes its folders."""
    save_with_claim(store, 0)
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line" and frame.f_code.co_filename == store_module.__file__
        return trace if frame.f_code.co_filename == store_module.__file__ else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        save_with_claim(store, -1)
    finally:
        sys.settrace(before)
    return count


def test_a_writer_killed_at_any_line_leaves_no_half_read_record(tmp_path):
    store, survived = RunStore(tmp_path), []
    lines = lines_of_a_save(store)
    for line in range(1, lines + 1, 3):

        def write_and_die(line=line):
            kill_at_line(line)
            save_with_claim(store, line)

        assert exit_code(start_child(write_and_die)) == -signal.SIGKILL
        record = store.find(spec_of(line))
        survived.append(record is not None)
        if record is not None:
            assert_intact(record, line)
        with store.claim(spec_of(line), blocking=False):  # the dead writer holds nothing
            assert_intact(save(store, line), line)
    assert any(survived) and not all(survived), "the kills must fall on both sides of the rename"
    assert survived == sorted(survived), "once a record is in place it stays"
    assert not list(store.root.glob("pendulum/.*")), "half-written records of dead writers are cleared"
    assert not list(store.root.glob("damaged/*"))


def test_a_writer_killed_at_random_moments_leaves_no_half_read_record(tmp_path):
    store, generator, weights = RunStore(tmp_path), random.Random(0), os.urandom(4_000_000)
    started = time.perf_counter()
    save(store, 0, weights)
    duration = time.perf_counter() - started
    for seed in range(1, 31):
        writer = start_child(lambda seed=seed: save(store, seed, weights) and time.sleep(30))
        time.sleep(generator.uniform(0, 1.5 * duration))
        os.kill(writer, signal.SIGKILL)
        exit_code(writer)
        record = store.find(spec_of(seed))
        if record is not None:
            assert_intact(record, seed, weights)
    assert_intact(save(store, 31, weights), 31, weights)
    assert not list(store.root.glob("pendulum/.*"))
    assert not list(store.root.glob("damaged/*"))


# --- Full disks -------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_an_error_and_a_later_retry_succeeds(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        store = RunStore(disk / "runs")
        save(store, 1)
        (disk / "ballast").write_bytes(bytes(450_000))
        with pytest.raises(OSError) as failure:
            save(store, 2, bytes(200_000))
        assert failure.value.errno == errno.ENOSPC
        assert store.find(spec_of(2)) is None
        assert_intact(store.find(spec_of(1)), 1)
        (disk / "ballast").unlink()
        assert_intact(save(store, 2, bytes(200_000)), 2, bytes(200_000))
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("failing_call", range(1, 5))
def test_a_write_that_fails_leaves_no_record_and_can_be_retried(tmp_path, monkeypatch, failing_call):
    store, calls, fsync = RunStore(tmp_path), 0, os.fsync
    save(store, 1)  # the folders exist, so the calls counted below are those of one record: three files, their folder

    def fsync_on_a_full_disk(descriptor):
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_on_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(store, 2)
    assert store.find(spec_of(2)) is None
    assert not list(store.root.glob("pendulum/.*")), "what was written is removed, so that the space is free again"
    assert_intact(save(store, 2), 2)


# --- Several processes ------------------------------------------------------------------------------------------------


def train_missing(store: RunStore, seeds: list[int], log: Path) -> None:
    """What a trainer does: claim what is missing, train it (here: write its seed to the log), save."""
    with store.claim_missing([spec_of(seed) for seed in seeds]) as todo:
        for spec in todo:
            with open(log, "a") as file:
                file.write(f"{spec['seed']}\n")
            time.sleep(0.02)
            save(store, spec["seed"])


def test_processes_with_overlapping_batches_train_each_run_exactly_once(tmp_path):
    store, log = RunStore(tmp_path / "runs"), tmp_path / "log"
    batches = [[1, 2, 3, 4], [4, 3, 2, 1], [3, 5, 1, 1], [6, 5, 4, 3]]
    trainers = [start_child(lambda batch=batch: train_missing(store, batch, log)) for batch in batches]
    assert [exit_code(trainer) for trainer in trainers] == [0, 0, 0, 0]
    assert sorted(log.read_text().split()) == ["1", "2", "3", "4", "5", "6"]
    for seed in range(1, 7):
        assert_intact(store.find(spec_of(seed)), seed)


def test_processes_that_save_the_same_run_without_a_claim_leave_one_whole_record(tmp_path):
    store = RunStore(tmp_path)
    weights = bytes(1_000_000)
    writers = [start_child(lambda: save(store, 1, weights)) for _ in range(6)]
    assert [exit_code(writer) for writer in writers] == [0] * 6
    assert_intact(store.find(spec_of(1)), 1, weights)


def test_lock_files_go_with_their_last_holder(tmp_path):
    store = RunStore(tmp_path)
    with store.claim(spec_of(1), spec_of(2)):
        save(store, 1)
    with store.claim_missing([spec_of(1), spec_of(2)]):
        pass
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_lock_that_is_removed_by_its_holders_still_lets_one_in_at_a_time(tmp_path):
    counter, turns = tmp_path / "counter", 200
    counter.write_text("0")

    def count():
        for _ in range(turns):
            with exclusive(tmp_path / "lock"):
                value = int(counter.read_text())
                time.sleep(0.0002)
                counter.write_text(str(value + 1))

    counters = [start_child(count) for _ in range(4)]
    assert [exit_code(one) for one in counters] == [0] * 4
    assert int(counter.read_text()) == 4 * turns
    assert not (tmp_path / "lock").exists()


def test_a_claim_excludes_others_and_is_freed_when_its_holder_is_killed(tmp_path):
    store, held = RunStore(tmp_path / "runs"), tmp_path / "held"

    def hold():
        with store.claim(spec_of(1)):
            held.touch()
            time.sleep(60)

    holder = start_child(hold)
    while not held.exists():
        time.sleep(0.005)
    with pytest.raises(RunIsBusy, match=store.name(spec_of(1))), store.claim(spec_of(0), spec_of(1), blocking=False):
        pass
    with store.claim(spec_of(0), spec_of(2), blocking=False):
        pass  # other runs are free, also one that the refused claim had taken
    os.kill(holder, signal.SIGKILL)
    exit_code(holder)
    with store.claim(spec_of(1), blocking=False):
        pass


# --- Provenance -------------------------------------------------------------------------------------------------------


def test_provenance_can_be_stored_and_names_no_person_or_place(tmp_path):
    made = provenance("cpu", "torch.float32", 5, 12.5, 800.0)
    record = RunStore(tmp_path).save(spec_of(1), {}, provenance=made)
    assert record.provenance == made
    assert made["dtype"] == "float32" and {"python", "torch", "numpy"} <= made["versions"].keys()
    text = repr(made)
    assert str(Path.home()) not in text and str(Path.cwd()) not in text and os.uname().nodename not in text


@pytest.mark.parametrize("bad", [(0, 1.0, 1.0), (1, -1.0, 1.0), (1, 1.0, float("inf"))])
def test_provenance_refuses_impossible_figures(bad):
    with pytest.raises(ValueError, match=r"(batch_of_runs|wall_time_s|steps_per_second) is"):
        provenance("cpu", "float32", *bad)
