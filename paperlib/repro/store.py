"""Run store: one folder per training run or experiment, named by what determines the run, written in one step.

A record lies in ``<root>/<experiment>/<hash>/``: ``record.json`` (specification, status, provenance, size and SHA-256
of every other file), tables as CSV, and any other files. It is prepared in a hidden sibling folder, flushed to the disk
and renamed into place, so that a reader sees either all of it or nothing. A record whose bytes differ from what was
written is set aside under ``<root>/damaged/`` and counts as missing; in a store of committed records it stays.

Beside the records the store keeps ``<root>/unfinished/`` (checkpoints of runs under way) and ``<root>/locks/``. Locks
are ``flock`` locks: the kernel frees them when their holder dies, so a killed run never blocks the next attempt.
"""

import csv
import errno
import fcntl
import hashlib
import io
import json
import math
import operator
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paperlib.repro.paths import write_atomically

RECORD_FILE = "record.json"
FORMAT = 1
"""Of records; a record without the number has format 1."""
RUNS_FILE = "runs.json"
"""In a work folder: the names of the runs that it is for."""
RESERVED_FOLDERS = ("damaged", "locks", "unfinished")
EXPERIMENT_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
COLUMN_TYPE = re.compile(r"str|bool|u?int(8|16|32|64)|float(16|32|64)")
HASH_LENGTH = 16


class RunIsBusy(RuntimeError):  # noqa: N818 - says what is the case
    """Another process (or thread) holds the claim on a run."""


class DamagedRecord(RuntimeError):  # noqa: N818 - says what is the case
    """A record on the disk is not what was written."""


class UnreadableRecord(DamagedRecord):
    """The system cannot read a record: it may be whole, so it stays where it is."""


class DamagedRecordWarning(UserWarning):
    """A record is damaged; its run counts as missing."""


# --- Specifications and record.json -----------------------------------------------------------------------------------


def _plain(value: Any, where: str) -> Any:
    """``value`` in JSON's own types, or an error that names the place of what JSON cannot hold exactly."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}: only finite numbers can be stored")
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}: keys must be strings")
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{position}]") for position, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}: use strings, booleans, integers, floats, lists and mappings")


def _canonical_json(plain: Any) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain_spec(spec: Mapping) -> dict:
    if not isinstance(spec, Mapping):
        raise TypeError(f"a run specification is a mapping, not a {type(spec).__name__}")
    plain = _plain(spec, "spec")
    experiment = plain.get("experiment")
    if not isinstance(experiment, str) or not EXPERIMENT_NAME.fullmatch(experiment) or experiment in RESERVED_FOLDERS:
        raise ValueError(
            f"spec.experiment is {experiment!r}: it must be lower-case letters, digits, '_', '.' or '-', "
            f"start with a letter or digit, and be none of {', '.join(RESERVED_FOLDERS)}"
        )
    return plain


def _encode_record(content: dict) -> bytes:
    """The bytes of ``record.json``: the content and the SHA-256 of its canonical form."""
    sealed = {"content": content, "sha256": _sha256(_canonical_json(content))}
    return (json.dumps(sealed, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _decode_record(data: bytes) -> dict:
    try:
        content = json.loads(data)["content"]
        intact = _encode_record(content) == data
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedRecord(f"{RECORD_FILE} cannot be parsed ({type(error).__name__})") from error
    if not intact:
        raise DamagedRecord(f"{RECORD_FILE} does not match its own checksum")
    return _of_known_shape(content)


def _of_known_shape(content: Any) -> dict:
    """The fields of a ``Record`` in ``content``; DamagedRecord for a record of another format or shape."""
    if not isinstance(content, dict) or content.pop("format", FORMAT) != FORMAT:
        raise DamagedRecord(f"{RECORD_FILE} is not of format {FORMAT}, the one that this version reads")
    try:
        _plain_spec(content["spec"])
        tables = [f"{name}.csv" for name in content["column_types"]]
        known = (
            content.keys() == {"spec", "status", "diverged_at_step", "provenance", "contents", "column_types"}
            and content["status"] == ("finished" if content["diverged_at_step"] is None else "diverged")
            and isinstance(content["provenance"], dict)
            and all(_is_file_name(name) for name in content["contents"])
            and all(digest.keys() == {"bytes", "sha256"} for digest in content["contents"].values())
            and set(tables) <= content["contents"].keys()
            and all(COLUMN_TYPE.fullmatch(kind) for types in content["column_types"].values() for _, kind in types)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        known = False
    if not known:
        raise DamagedRecord(f"{RECORD_FILE} has not the shape of a record")
    return content


def _is_file_name(name: str) -> bool:
    return FILE_NAME.fullmatch(name) is not None and name != RECORD_FILE


# --- Tables -----------------------------------------------------------------------------------------------------------


def _column_type(column: pd.Series, where: str) -> str:
    """The type a column is stored with: ``bool``, ``str`` or the name of a NumPy integer or float type."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf" and column.dtype.itemsize <= 8:
        return column.dtype.name
    # An empty column of objects says nothing about its type; text is what such a column is made for.
    if pd.api.types.infer_dtype(column, skipna=False) in ("string", "empty") and not column.isna().any():
        if column.str.contains("\0", regex=False).any():
            raise ValueError(f"{where} has a text with a NUL character, which CSV readers drop")
        return "str"
    raise TypeError(f"{where} has type {column.dtype}: tables hold booleans, integers, floats and text without gaps")


def _column_types(table: pd.DataFrame, name: str) -> list[list[str]]:
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table '{name}' is a {type(table).__name__}, not a DataFrame")
    if not isinstance(table.index, pd.RangeIndex) or table.index.start != 0 or table.index.step != 1:
        raise ValueError(f"table '{name}' has an index of its own, which a CSV would lose: call reset_index() first")
    columns = list(table.columns)
    if not columns or len(set(columns)) != len(columns) or not all(isinstance(c, str) and c for c in columns):
        raise ValueError(f"table '{name}' has the columns {columns}: they must be distinct non-empty strings")
    return [[column, _column_type(table[column], f"table '{name}', column '{column}'")] for column in columns]


def _require_finite(table: pd.DataFrame, name: str) -> None:
    for column in table.columns:
        if table[column].dtype.kind != "f":
            continue
        bad = np.flatnonzero(~np.isfinite(table[column].to_numpy()))
        if bad.size:
            raise ValueError(
                f"table '{name}', column '{column}', row {bad[0]} is {table[column].iloc[bad[0]]}: a finished run "
                "holds finite values only; save a run that diverged with diverged_at_step"
            )


def _encode_table(table: pd.DataFrame, column_types: list[list[str]]) -> bytes:
    # Narrow floats are widened, which is exact; their own shortest decimals need not survive a parser's two roundings.
    widened = table.astype({column: "float64" for column, kind in column_types if kind.startswith("float")})
    text = widened.to_csv(index=False, na_rep="nan", quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    return text.encode()


def _decode_table(data: bytes, column_types: list[list[str]]) -> pd.DataFrame:
    wide = {column: "float64" if kind.startswith("float") else kind for column, kind in column_types}
    table = pd.read_csv(
        io.BytesIO(data),
        header=0,
        names=list(wide),
        index_col=False,
        dtype=wide,
        keep_default_na=False,
        na_values={column: ["nan"] for column, kind in wide.items() if kind == "float64"},
        float_precision="round_trip",
        skip_blank_lines=False,
        lineterminator="\n",
    )
    return table.astype(dict(column_types))


# --- Files and folders ------------------------------------------------------------------------------------------------


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listing(folder: Path) -> list[str]:
    """The names in a folder, sorted; none where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents so that they survive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


_NO_FILE_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""What reading raises where a file is missing: in its place is nothing, a folder, or a link that leads to itself."""


def _read_bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        if error.errno in _NO_FILE_THERE:
            raise DamagedRecord(f"{name} is missing") from error
        raise UnreadableRecord(f"{name} cannot be read ({error.strerror})") from error


def _read_checked(folder: Path, name: str, digest: Mapping) -> bytes:
    data = _read_bytes(folder, name)
    if len(data) != digest["bytes"]:
        raise DamagedRecord(f"{name} has {len(data)} bytes instead of {digest['bytes']}")
    if _sha256(data) != digest["sha256"]:
        raise DamagedRecord(f"{name} does not match its checksum")
    return data


@contextmanager
def _locked(path: Path, *, blocking: bool = True) -> Iterator[int]:
    """Hold the lock file ``path``, whose descriptor is given; ``BlockingIOError`` if it is taken and ``blocking`` is
    false.

    ``OSError`` that says what to do on a file system without such locks, as Lustre and NFS can be.
    """
    _make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK):
                advice = "choose a build folder on another one: make BUILD=/a/folder, or PAPERLIB_BUILD=/a/folder"
                message = f"{error.strerror}: this file system lacks the locks that the run store needs; {advice}"
                raise OSError(error.errno, message, str(path)) from error
            raise
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: Path, *, blocking: bool = True) -> Iterator[None]:
    """Hold ``path`` against every other process and thread until the block ends or its process dies.

    The lock file is removed by its holder, so whoever gets the lock after waiting may hold a file that is no longer at
    ``path``, where another one may lock a new file: it tries again. ``BlockingIOError`` if it is taken and ``blocking``
    is false.
    """
    while True:
        with _locked(path, blocking=blocking) as descriptor:
            if _is_at(path, descriptor):
                try:
                    yield
                finally:
                    if _is_at(path, descriptor):
                        path.unlink()
                return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


# --- Records and the store --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """One stored run.

    ``contents`` maps each file name to its size and checksum, ``column_types`` each table to its (column, type) pairs.
    ``diverged_at_step`` is the environment step at which a run of status "diverged" left the finite numbers, else None.
    """

    name: str
    folder: Path
    spec: dict
    status: str
    diverged_at_step: int | None
    provenance: dict
    contents: dict
    column_types: dict

    def table(self, name: str) -> pd.DataFrame:
        """The table stored under ``name``, values and types as saved; KeyError if there is none."""
        if name not in self.column_types:
            raise KeyError(f"{self.name} has no table '{name}', only {sorted(self.column_types)}")
        return _decode_table(self._read(f"{name}.csv"), self.column_types[name])

    def file(self, name: str) -> bytes:
        """The bytes of the file stored under ``name``; KeyError if there is none."""
        if name not in self.contents:
            raise KeyError(f"{self.name} has no file '{name}', only {sorted(self.contents)}")
        return self._read(name)

    def _read(self, file_name: str) -> bytes:
        try:
            return _read_checked(self.folder, file_name, self.contents[file_name])
        except DamagedRecord as error:
            raise DamagedRecord(f"{self.folder}: {error}") from error


class RunStore:
    """Records of runs under one root folder, shared safely by any number of processes on one machine.

    committed: the records are under version control: a damaged one is reported and stays where it is.
    """

    def __init__(self, root: Path | str, *, committed: bool = False):
        self.root, self.committed = Path(root), committed

    def name(self, spec: Mapping) -> str:
        """``<experiment>-<16 hex digits>``, a function of the specification's content and not of its key order.

        ``spec`` holds strings, booleans, integers, finite floats, lists and mappings, and at least "experiment";
        anything else raises TypeError or ValueError with its place. 1 and 1.0 are different values.
        """
        return self._name(_plain_spec(spec))

    def find(self, spec: Mapping) -> Record | None:
        """The complete, undamaged record of ``spec``, else None; a damaged one is set aside with a warning.

        What the system cannot read, or not move, stays where it is, also with a warning.
        """
        plain = _plain_spec(spec)
        return self._find(self._folder(plain), self._name(plain))

    def missing(self, specs: Sequence[Mapping]) -> list[Mapping]:
        """Those of ``specs`` that have no record, in their order, each run once."""
        by_name = {self.name(spec): spec for spec in specs}
        return [spec for spec in by_name.values() if self.find(spec) is None]

    @contextmanager
    def claim(self, *specs: Mapping, blocking: bool = True) -> Iterator[None]:
        """Hold the named runs against every other process and thread until the block ends or its process dies.

        Several runs are taken in the order of their names, so that processes claiming overlapping batches cannot wait
        for each other in a circle; do not nest claims. With ``blocking=False`` a run held elsewhere raises RunIsBusy
        and none is kept. After waiting, look again: the other holder may have saved the run.
        """
        names = sorted({self.name(spec) for spec in specs})
        with ExitStack() as held:
            for name in names:
                try:
                    held.enter_context(exclusive(self._lock(name, "claim"), blocking=blocking))
                except BlockingIOError as error:
                    raise RunIsBusy(f"{name} is being run by another process") from error
            yield

    @contextmanager
    def claim_missing(self, specs: Sequence[Mapping], *, blocking: bool = True) -> Iterator[list[Mapping]]:
        """Claim the runs that have no record and give those still without one once the claims are held.

        This is how a batch is trained: run what is given, ``save`` each run on its own, leave the block.
        """
        with self.claim(*self.missing(specs), blocking=blocking):
            missing = self.missing(specs)
            if not missing:  # a writer killed after its last save left its work folder
                for experiment in {spec["experiment"] for spec in specs}:
                    self.clear_leftovers(experiment)
            yield missing

    def save(
        self,
        spec: Mapping,
        tables: Mapping[str, pd.DataFrame],
        *,
        provenance: Mapping,
        diverged_at_step: int | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Record:
        """Store a run, all of it or nothing, and remove its work folder.

        A run that has a record keeps it, and that record is returned. A run that diverged is saved with the step at
        which it did and the tables measured until then; any other run with a non-finite value in a table is refused
        (ValueError). An OSError of the disk passes through and leaves no record. DamagedRecord where one that the store
        may not move is in the way.
        """
        plain = _plain_spec(spec)
        name, folder = self._name(plain), self._folder(plain)
        encoded = self._encode(plain, tables, provenance, diverged_at_step, files or {})
        with exclusive(self._lock(name, "save")):
            if self._find_locked(folder, name) is None:
                if os.path.lexists(folder):
                    raise DamagedRecord(f"{folder} is damaged and stays in place; {self._advice}")
                self._write(folder, encoded)
            record = self._read(folder)
        self.clear_leftovers(plain["experiment"])
        return record

    def work_folder(self, *specs: Mapping) -> Path:
        """A folder, made if need be, for the checkpoints of a run under way, or of several that go together.

        ``save`` removes it once all its runs have records.
        """
        plain = [_plain_spec(spec) for spec in specs]
        names = [self._name(one) for one in plain]
        key = names[0][-HASH_LENGTH:] if len(names) == 1 else _sha256(_canonical_json(names))[:HASH_LENGTH]
        folder = self.root / "unfinished" / plain[0]["experiment"] / key
        _make_folder(folder)
        if not (folder / RUNS_FILE).exists():
            write_atomically(folder / RUNS_FILE, json.dumps(names))
        return folder

    def records(self, experiment: str | None = None) -> Iterator[Record]:
        """Every undamaged record (of one experiment), in the order of experiment and hash."""
        for name in _listing(self.root) if experiment is None else [experiment]:
            if name in RESERVED_FOLDERS or not EXPERIMENT_NAME.fullmatch(name):
                continue
            for folder in _listing(self.root / name):
                if re.fullmatch(f"[0-9a-f]{{{HASH_LENGTH}}}", folder):
                    record = self._find(self.root / name / folder, f"{name}-{folder}")
                    if record is not None:
                        yield record

    def clear_leftovers(self, experiment: str | None = None) -> None:
        """Remove what dead writers left (of one experiment): work folders of saved runs and half-written records."""
        for name in _listing(self.root / "unfinished") if experiment is None else [experiment]:
            for work in _listing(self.root / "unfinished" / name):
                if self._is_saved(self.root / "unfinished" / name / work):
                    shutil.rmtree(self.root / "unfinished" / name / work, ignore_errors=True)
            for temporary in self.root.glob(f"{name}/.*"):
                # A living writer holds the lock; and what a disk does not let us remove stays.
                with suppress(OSError), exclusive(self._lock(f"{name}-{temporary.name[1:]}", "save"), blocking=False):
                    shutil.rmtree(temporary, ignore_errors=True)

    def _is_saved(self, work_folder: Path) -> bool:
        """Whether all runs that a work folder is for have records."""
        try:
            names = json.loads((work_folder / RUNS_FILE).read_text())
            folders = [self.root / name[: -HASH_LENGTH - 1] / name[-HASH_LENGTH:] for name in names]
        except (OSError, ValueError, TypeError):
            return False
        return bool(folders) and all(folder.exists() for folder in folders)

    def _name(self, plain: dict) -> str:
        return f"{plain['experiment']}-{_sha256(_canonical_json(plain))[:HASH_LENGTH]}"

    def _folder(self, plain: dict) -> Path:
        return self.root / plain["experiment"] / self._name(plain)[-HASH_LENGTH:]

    def _lock(self, name: str, purpose: str) -> Path:
        return self.root / "locks" / f"{name}.{purpose}"

    @property
    def _advice(self) -> str:
        return f"`git checkout {self.root}` restores it" if self.committed else "move it away or make it readable"

    def _find(self, folder: Path, name: str) -> Record | None:
        try:
            return self._read(folder)
        except DamagedRecord as error:
            if not os.path.lexists(folder):
                return None
            if self.committed:
                self._left_in_place(folder, error)
                return None
        try:
            # Another process may be replacing the record at this moment: judge it again with the lock held.
            with exclusive(self._lock(name, "save")):
                return self._find_locked(folder, name)
        except OSError as error:
            self._left_in_place(folder, error)
            return None

    def _find_locked(self, folder: Path, name: str) -> Record | None:
        try:
            return self._read(folder)
        except DamagedRecord as error:
            if not os.path.lexists(folder):
                return None
            if self.committed or isinstance(error, UnreadableRecord):
                self._left_in_place(folder, error)
                return None
            aside = self._set_aside(folder, name)
            warnings.warn(f"{folder}: {error}; moved to {aside}", DamagedRecordWarning, stacklevel=4)
            return None

    def _left_in_place(self, folder: Path, error: Exception) -> None:
        warnings.warn(f"{folder}: {error}; {self._advice}", DamagedRecordWarning, stacklevel=5)

    def _set_aside(self, folder: Path, name: str) -> Path:
        damaged = self.root / "damaged"
        _make_folder(damaged)
        attempt = 1
        while (damaged / f"{name}-{attempt}").exists():
            attempt += 1
        aside = damaged / f"{name}-{attempt}"
        os.rename(folder, aside)
        _sync_folder(folder.parent)
        return aside

    def _read(self, folder: Path) -> Record:
        """The record in ``folder`` with every file checked; DamagedRecord says what is wrong with it."""
        content = _decode_record(_read_bytes(folder, RECORD_FILE))
        if self._folder(content["spec"]) != folder:
            raise DamagedRecord(f"{RECORD_FILE} holds the specification of {self._name(content['spec'])}")
        for file_name, digest in content["contents"].items():
            _read_checked(folder, file_name, digest)
        return Record(name=self._name(content["spec"]), folder=folder, **content)

    def _encode(
        self,
        plain_spec: dict,
        tables: Mapping[str, pd.DataFrame],
        provenance: Mapping,
        diverged_at_step: int | None,
        files: Mapping[str, bytes],
    ) -> dict[str, bytes]:
        """The files of a record by name, ``record.json`` last; bad input is refused here, before writing."""
        if diverged_at_step is not None:
            diverged_at_step = operator.index(diverged_at_step)
            if diverged_at_step < 0:
                raise ValueError(f"diverged_at_step is {diverged_at_step}: a step is at least 0")
        encoded, column_types = {}, {}
        for name, table in tables.items():
            column_types[name] = _column_types(table, name)
            if diverged_at_step is None:
                _require_finite(table, name)
            encoded[f"{name}.csv"] = _encode_table(table, column_types[name])
        for name, data in files.items():
            if not isinstance(data, bytes):
                raise TypeError(f"file '{name}' is a {type(data).__name__}, not bytes")
            if name in encoded:
                raise ValueError(f"file '{name}' has the name of a table's file")
            encoded[name] = data
        for name in encoded:
            if not _is_file_name(name):
                raise ValueError(f"'{name}' is no name for a record's file: use letters, digits, '_', '.' and '-'")
        content = {
            "format": FORMAT,
            "spec": plain_spec,
            "status": "finished" if diverged_at_step is None else "diverged",
            "diverged_at_step": diverged_at_step,
            "provenance": _plain(provenance, "provenance"),
            "contents": {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in encoded.items()},
            "column_types": column_types,
        }
        return encoded | {RECORD_FILE: _encode_record(content)}

    def _write(self, folder: Path, encoded: Mapping[str, bytes]) -> None:
        _make_folder(folder.parent)
        temporary = folder.with_name(f".{folder.name}")
        # What lies there is a dead writer's: this process holds the run's save lock.
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            for name, data in encoded.items():
                _write_durably(temporary / name, data)
            _sync_folder(temporary)
            os.rename(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(folder.parent)
