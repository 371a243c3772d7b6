"""Recordings: what a run leaves behind, and the only thing views read. One SQLite file holds one run or several.

While a run is live its file is in WAL mode: the worker writes, other processes read rows > t at the same time, and
`kill -9` loses at most the step in flight. Readers never change a file, and nothing in a file is ever executed: numbers
are float32 blobs whose length is checked against their declared shape, everything else is JSON. Needs no torch.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from nascore.errors import UserError, choose, near
from nascore.graph import CellGraph
from nascore.run import COLUMNS, Knob, Script, Step

if TYPE_CHECKING:
    from filelock import FileLock

APPLICATION_ID = 0x4E415352  # "NASR"; lets any program tell a recording from other SQLite files
SCHEMA_VERSION = 2
_COLUMNS_SINCE = {"advantage": 2}  # the format in which a column was new
STATUSES = ("starting", "running", "paused", "finished", "stopped", "failed")
_WRITTEN = ("running", "paused")  # a process holds the run's lock meanwhile
SHIPPED = Path(__file__).parent / "recordings"

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE run (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL, error TEXT,
  meta TEXT NOT NULL, shapes TEXT NOT NULL DEFAULT '{{}}');
CREATE TABLE step (run INTEGER NOT NULL, t INTEGER NOT NULL, phase TEXT NOT NULL, metrics TEXT NOT NULL,
  probs BLOB, gates BLOB, credit BLOB, graphs TEXT, parent INTEGER, advantage BLOB, PRIMARY KEY (run, t));
CREATE TABLE knob (run INTEGER NOT NULL, t INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (run, t, name)) WITHOUT ROWID;
CREATE TABLE checkpoint (run INTEGER NOT NULL, t INTEGER NOT NULL, state TEXT NOT NULL, tensors BLOB NOT NULL,
  PRIMARY KEY (run, t));
"""
_PATIENCE = 10.0  # seconds to wait for another process's commit
_LARGEST = 2**24  # numbers in one blob; a file that declares more is not ours


# --------------------------------------------------------------------------------------------- files


def _check(path: Path) -> None:
    """Refuse a file that is not a recording of this version, without changing it."""
    if not path.exists():
        raise UserError(f"recording: there is no file {str(path)!r}.")
    if path.is_dir():
        raise UserError(f"recording: {str(path)!r} is a folder; name a file in it.")
    # Immutable leaves no trace beside a foreign file. The second look is for a file whose newest pages still are in
    # the write-ahead log, which immutable does not read.
    looks = ["immutable=1"] + ["mode=ro"] * Path(f"{path}-wal").exists()
    for look in looks:
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{look}", uri=True)) as connection:
                application = connection.execute("PRAGMA application_id").fetchone()[0]
                version = _version(connection)
                if path.stat().st_size % connection.execute("PRAGMA page_size").fetchone()[0]:
                    raise sqlite3.DatabaseError("its last page is cut")  # which SQLite itself would not notice
            break
        except sqlite3.DatabaseError as error:
            problem = error
    else:
        raise UserError(f"recording: {str(path)!r} is damaged or no recording ({problem}); it was left as it is.")
    if application != APPLICATION_ID:
        raise UserError(f"recording: {str(path)!r} is no recording of nascore; it was left as it is.")
    if not 1 <= version <= SCHEMA_VERSION:
        raise UserError(
            f"recording: {str(path)!r} has format {version} and this nascore reads 1 to {SCHEMA_VERSION}; "
            "update nascore to open it. It was left as it is."
        )


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write. Opened anew for each look, so that a finished run can leave WAL mode."""
    mode = "immutable=1" if path.parent == SHIPPED else "mode=ro"
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=_PATIENCE)
    except sqlite3.OperationalError as error:
        raise UserError(f"recording: {str(path)!r} cannot be read ({error}).") from None
    with closing(connection):
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"recording: {str(path)!r} is damaged ({error}); it was left as it is.") from error


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=repr)


def _object(text: Any) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("a JSON object was expected")
    return value


def _lock(path: Path, run: str) -> FileLock:
    from filelock import FileLock

    return FileLock(f"{path}.{run}.lock", thread_local=False)


def _is_written(path: Path, run: str) -> bool:
    """Whether a process holds the run's lock."""
    from filelock import Timeout

    lock = _lock(path, run)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(blocking=False):
            return False
    except (Timeout, OSError):
        return True


def _create(path: Path) -> None:
    """Make a recording without runs, in one step, so that no process ever meets half a file."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with closing(sqlite3.connect(draft)) as connection:
            connection.executescript(_SCHEMA)
        if path.exists():  # of no bytes
            draft.replace(path)
        else:
            with suppress(FileExistsError):  # another process was faster: its file is as good
                os.link(draft, path)
    except (sqlite3.OperationalError, OSError) as error:
        raise UserError(f"record: {str(path)!r} cannot be written ({error}).") from error
    finally:
        draft.unlink(missing_ok=True)


def _has_bytes(path: Path) -> bool:
    return path.exists() and (path.is_dir() or path.stat().st_size > 0)


class Writer:
    """The one writer of one run: a new run of the file at `path` if `meta` is given, otherwise the run `run`.

    Rows, knob changes and checkpoints of an existing run are replaced where they are written again. Call `close`.

    Raises:
        UserError: the folder is missing, the file is not a recording of this version, or the run has a writer already.
    """

    def __init__(self, path: str | Path, meta: Mapping[str, Any] | None = None, run: str | None = None):
        self.path = Path(path)
        self.run = run or secrets.token_hex(4)
        if not self.path.parent.is_dir():
            raise UserError(f"record: there is no folder {str(self.path.parent)!r}; make it first or name another.")
        if meta is not None and not _has_bytes(self.path):
            _create(self.path)
        _check(self.path)
        self._shapes: dict[str, list[int]] = {}
        self._lock = _lock(self.path, self.run)
        self._take_lock()
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA trusted_schema = OFF")
            self._journal("WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._update()
            self._key = self._find() if meta is None else self._add(meta)
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError):
                raise UserError(f"record: {str(path)!r} cannot be written ({error}).") from error
            raise

    def _take_lock(self) -> None:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0.5)  # longer than a look at the lock takes, see `_is_written`
        except Timeout:
            raise UserError(f"run: {self.run!r} in {str(self.path)!r} is being written by another process.") from None

    def _add(self, meta: Mapping[str, Any]) -> int:
        row = (self.run, "starting", _json(meta))
        cursor = self._connection.execute("INSERT INTO run (id, status, meta) VALUES (?, ?, ?)", row)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _update(self) -> None:
        """Give an older file the columns it lacks; its rows stay as they are."""
        if _version(self._connection) == SCHEMA_VERSION:
            return
        with self._transaction() as execute:
            version = _version(self._connection)  # another process may have been faster
            for name in (name for name, since in _COLUMNS_SINCE.items() if version < since):
                execute(f"ALTER TABLE step ADD COLUMN {name} BLOB")
            execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _find(self) -> int:
        rows = self._connection.execute("SELECT id, key, shapes FROM run").fetchall()
        choose("run", self.run, [row[0] for row in rows])
        key, shapes = next(row[1:] for row in rows if row[0] == self.run)
        self._shapes = _object(shapes)
        return int(key)

    def _journal(self, mode: str) -> bool:
        """Change the journal mode; needs a moment in which nobody else has the file open."""
        for _ in range(40):
            with suppress(sqlite3.OperationalError):
                if self._connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0] == mode.lower():
                    return True
            time.sleep(0.025)
        return False

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection.execute
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def append(self, step: Step, changed: Mapping[str, float] | None = None) -> None:
        """Write one row of numpy arrays and floats, with the knobs that `changed` right before it."""
        blobs = []
        with self._transaction() as execute:
            for name in COLUMNS:
                value = getattr(step, name)
                array = None if value is None else np.ascontiguousarray(value, dtype="<f4")
                if array is not None and self._shapes.get(name) != list(array.shape):
                    if name in self._shapes:
                        raise ValueError(f"{name}: the shape {array.shape} differs from {self._shapes[name]} before.")
                    self._shapes[name] = list(array.shape)
                    execute("UPDATE run SET shapes = ? WHERE key = ?", (_json(self._shapes), self._key))
                blobs.append(None if array is None else array.tobytes())
            graphs = None
            if step.graphs is not None:
                graphs = _json({name: graph.to_json() for name, graph in step.graphs.items()})
            execute(
                f"INSERT OR REPLACE INTO step (run, t, phase, metrics, {', '.join(COLUMNS)}, graphs, parent) "  # noqa: S608
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self._key, step.t, step.phase, _json(dict(step.metrics)), *blobs, graphs, step.parent),
            )
            execute("DELETE FROM knob WHERE run = ? AND t = ?", (self._key, step.t))
            for name, value in (changed or {}).items():
                execute("INSERT INTO knob VALUES (?, ?, ?, ?)", (self._key, step.t, name, value))

    def checkpoint(self, t: int, state: Mapping[str, Any], tensors: bytes) -> None:
        """Keep what is needed to go on with row `t`: JSON-able `state` and the bytes of a safetensors file."""
        with self._transaction() as execute:
            execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?)", (self._key, t, _json(state), tensors))

    def copy(self, run: str, t: int, checkpoint: int | None = None) -> None:
        """Copy the rows before `t`, and the checkpoint before row `checkpoint`, from another run of the same file."""
        with self._transaction() as execute:
            found = execute("SELECT key, shapes FROM run WHERE id = ?", (run,)).fetchone()
            if found is None:
                raise UserError(f"run: there is no run {run!r} in {str(self.path)!r}.")
            source, shapes = found
            self._shapes = _object(shapes)
            execute("UPDATE run SET shapes = ? WHERE key = ?", (shapes, self._key))
            for table, condition, bound in (
                ("step", "t < ?", t),
                ("knob", "t < ?", t),
                ("checkpoint", "t = ?", checkpoint),
            ):
                names = [row[1] for row in execute(f"PRAGMA table_info({table})")][1:]
                columns = ", ".join(names)
                execute(
                    f"INSERT INTO {table} SELECT ?, {columns} FROM {table} WHERE run = ? AND {condition}",  # noqa: S608
                    (self._key, source, bound),
                )

    def status(self, status: str, error: str | None = None) -> None:
        """Set the run's status (one of `STATUSES`) and its error."""
        choose("status", status, STATUSES)
        self._connection.execute("UPDATE run SET status = ?, error = ? WHERE key = ?", (status, error, self._key))

    def meta(self, meta: Mapping[str, Any]) -> None:
        """Replace what is known about the run."""
        self._connection.execute("UPDATE run SET meta = ? WHERE key = ?", (_json(meta), self._key))

    def withdraw(self) -> None:
        """Take the run back, and the file too if it held nothing else."""
        with self._transaction() as execute:
            for table in ("step", "knob", "checkpoint"):
                execute(f"DELETE FROM {table} WHERE run = ?", (self._key,))  # noqa: S608
            execute("DELETE FROM run WHERE key = ?", (self._key,))
            empty = execute("SELECT count(*) FROM run").fetchone()[0] == 0
        self.close()
        if empty:
            self.path.unlink()

    def close(self) -> None:
        """Let go of the run, and leave WAL mode, so that the file is one file again, unless another run is live."""
        if self._lock.is_locked:
            if hasattr(self, "_connection"):
                others = (lock.name.split(".")[-2] for lock in self.path.parent.glob(f"{self.path.name}.*.lock"))
                if not any(_is_written(self.path, run) for run in others if run != self.run):
                    self._journal("DELETE")
                self._connection.close()
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()


# ----------------------------------------------------------------------------------------- recordings


@dataclass(frozen=True)
class _Row:
    """What a row holds besides its arrays; `graphs` is JSON until somebody asks."""

    phase: str
    metrics: dict[str, float]
    graphs: Mapping[str, CellGraph] | str | None
    parent: int | None
    present: tuple[bool, ...]  # of each of COLUMNS, whether the method gave it


class _Growing:
    """Rows of one shape, NaN where nothing was put; appending is cheap, reading copies nothing."""

    def __init__(self, shape: tuple[int, ...], dtype: type[np.floating[Any]]):
        self._room = np.full((0, *shape), np.nan, dtype)

    def put(self, start: int, rows: Any) -> None:
        room = self.view(start + len(rows))
        room.flags.writeable = True
        room[start:] = rows

    def view(self, length: int) -> NDArray[Any]:
        """The first `length` rows, read-only."""
        if length > len(self._room):
            room = np.full((max(length, 2 * len(self._room)), *self._room.shape[1:]), np.nan, self._room.dtype)
            room[: len(self._room)] = self._room
            self._room = room
        view = self._room[:length]
        view.flags.writeable = False
        return view


class Recording(Sequence[Step]):
    """A run as rows: `recording[t]` is a `Step` of numpy arrays, `column` and `metric` give all rows at once.

    A recording of a live run grows when `refresh` is called, also while another process writes it.

    Attributes:
        id: names the run within its file.
        path: the file, or None for a recording in memory.
        meta: what is known about the run: method, task, seed, space, declared knobs, prices, versions, command, ….
        error: what ended a failed run, otherwise None.
    """

    def __init__(self, run: str, meta: Mapping[str, Any], path: Path | None = None):
        self.id = run
        self.path = path
        self.meta: Mapping[str, Any] = meta
        self.error: str | None = None
        self._status = "finished"
        self._length = 0
        self._rows: list[_Row] = []
        self._arrays: dict[str, _Growing] = {}
        self._metrics: dict[str, _Growing] = {}
        self._script: Script = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._seen: tuple[Any, ...] = ()  # the run's row as last read
        self._busy = threading.Lock()

    @classmethod
    def open(cls, path_or_name: str | Path, run: str | None = None) -> Recording:
        """Open a file, or a shipped recording by its name; of several runs the newest, or the one called `run`.

        Raises:
            UserError: there is no such file, name or run, or the file is no recording, damaged, or from a newer
                version; it is left as it is.
        """
        path = _resolve(path_or_name)
        _check(path)
        with _reading(path) as connection:
            ids = [row[0] for row in connection.execute("SELECT id FROM run ORDER BY key")]
        if not ids:
            raise UserError(f"recording: {str(path)!r} holds no runs.")
        recording = cls(ids[-1] if run is None else choose("run", run, ids), {}, path)
        recording.refresh()
        return recording

    @classmethod
    def from_steps(cls, steps: Iterable[Step], meta: Mapping[str, Any], script: Script | None = None) -> Recording:
        """A recording in memory, e.g. `Recording.from_steps(run, run.meta)`."""
        recording = cls("memory", dict(meta))
        recording._script = {t: dict(values) for t, values in sorted((script or {}).items())}
        steps = [_as_numpy(step) for step in steps]
        for name in COLUMNS:
            shapes = {getattr(step, name).shape for step in steps if getattr(step, name) is not None}
            if len(shapes) > 1:
                raise UserError(f"steps: {name} has several shapes: {', '.join(map(str, sorted(shapes)))}.")
            recording._shapes.update(dict.fromkeys([name] * len(shapes), *shapes))
        arrays = {name: [getattr(step, name) for step in steps] for name in COLUMNS}
        recording._take([(s.phase, dict(s.metrics), s.graphs, s.parent) for s in steps], arrays)
        return recording

    def refresh(self) -> int:
        """Read what was written since; returns the number of new rows."""
        if self.path is None:
            return 0
        with self._busy, _reading(self.path) as connection:
            connection.execute("BEGIN")  # one snapshot for all that follows
            found = connection.execute(
                "SELECT key, status, error, meta, shapes FROM run WHERE id = ?", (self.id,)
            ).fetchone()
            if found is None:
                raise UserError(f"run: {self.id!r} is no longer in {str(self.path)!r}.")
            key, self._status, self.error, meta, shapes = found
            choose("status", self._status, STATUSES)
            if (meta, shapes) != self._seen:
                self.meta, self._shapes = _object(meta), _read_shapes(shapes)
                self._seen = (meta, shapes)
                self.__dict__.pop("knobs", None)
            version = _version(connection)
            columns = (name if _COLUMNS_SINCE.get(name, 1) <= version else "NULL" for name in COLUMNS)
            rows = connection.execute(
                f"SELECT t, phase, metrics, graphs, parent, {', '.join(columns)} FROM step "  # noqa: S608
                "WHERE run = ? AND t >= ? ORDER BY t",
                (key, self._length),
            ).fetchall()
            changes = connection.execute("SELECT t, name, value FROM knob WHERE run = ? ORDER BY t", (key,)).fetchall()
            if [row[0] for row in rows] != list(range(self._length, self._length + len(rows))):
                raise ValueError(f"rows are missing after row {self._length - 1}")
            script: Script = {}
            for t, name, value in changes:
                script.setdefault(int(t), {})[str(name)] = float(value)
            self._script = script
            self._take(
                [(str(r[1]), _read_metrics(r[2]), r[3], None if r[4] is None else int(r[4])) for r in rows],
                {name: [self._read_blob(name, row[5 + i]) for row in rows] for i, name in enumerate(COLUMNS)},
            )
        return len(rows)

    def _read_blob(self, name: str, blob: Any) -> NDArray[np.float32] | None:
        if blob is None:
            return None
        shape = self._shapes[name]
        if not isinstance(blob, bytes) or len(blob) != 4 * int(np.prod(shape)):
            raise ValueError(f"{name} is not {shape} float32 numbers")
        return np.frombuffer(blob, "<f4").reshape(shape)

    def _take(
        self, rows: Sequence[tuple[Any, Any, Any, Any]], arrays: Mapping[str, list[NDArray[np.float32] | None]]
    ) -> None:
        start = self._length
        present = zip(*([value is not None for value in values] for values in arrays.values()), strict=True)
        new = [_Row(*row, present=flags) for row, flags in zip(rows, present, strict=True)]
        for name, values in arrays.items():
            if any(value is not None for value in values):
                blank = np.full(self._shapes[name], np.nan, np.float32)
                column = self._arrays.setdefault(name, _Growing(self._shapes[name], np.float32))
                column.put(start, [blank if value is None else value for value in values])
        for name in dict.fromkeys(name for row in new for name in row.metrics):
            column = self._metrics.setdefault(name, _Growing((), np.float64))
            column.put(start, [row.metrics.get(name, np.nan) for row in new])
        self._rows += new
        self._length += len(rows)  # last: a reader in another thread never sees half a row

    # -- reading

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, t: int) -> Step: ...
    @overload
    def __getitem__(self, t: slice) -> list[Step]: ...
    def __getitem__(self, t: int | slice) -> Step | list[Step]:
        if isinstance(t, slice):
            return [self[i] for i in range(*t.indices(len(self)))]
        index = t + len(self) if t < 0 else t
        if not 0 <= index < len(self):
            raise IndexError(f"t: {t} is outside the recording's {len(self)} rows.")
        row = self._rows[index]
        graphs = row.graphs
        if isinstance(graphs, str):
            graphs = {name: CellGraph.from_json(text) for name, text in _object(graphs).items()}
        tables = {
            name: self._arrays[name].view(len(self))[index] if given else None
            for name, given in zip(COLUMNS, row.present, strict=True)
        }
        return Step(index, row.phase, dict(row.metrics), **tables, graphs=graphs, parent=row.parent)

    @property
    def columns(self) -> dict[str, tuple[int, ...]]:
        """The array columns that were recorded, with the shape of a row."""
        return dict(self._shapes)

    def column(self, name: str) -> NDArray[np.float32]:
        """A column, by its name in `COLUMNS`, as `[t, group, decision, option]`; NaN where absent. Read-only."""
        choose("column", name, COLUMNS)
        if name in self._arrays:
            return self._arrays[name].view(len(self))
        shape = self._shapes.get(name) or next(iter(self._shapes.values()), (0, 0, 0))
        return np.full((len(self), *shape), np.nan, np.float32)

    def metric(self, name: str) -> NDArray[np.float64]:
        """A metric as `[t]`; NaN where it was not measured. Read-only."""
        if name not in self._metrics:
            choose("metric", name, {*self._metrics, *self.meta.get("metrics", ())})
            return np.full(len(self), np.nan)
        return self._metrics[name].view(len(self))

    @property
    def phases(self) -> list[str]:
        """The phase of each row."""
        return [row.phase for row in self._rows]

    def script(self, upto: int | None = None) -> Script:
        """The knob changes `{t: {knob: value}}` up to and including row `upto`; t is the first row under the value."""
        return {t: dict(values) for t, values in self._script.items() if upto is None or t <= upto}

    @cached_property
    def knobs(self) -> dict[str, Knob]:
        """The knobs as the method declared them; empty until the run has begun."""
        return {name: Knob(**knob) for name, knob in self.meta.get("knobs", {}).items()}

    def values(self, t: int | None = None) -> dict[str, float]:
        """The knob values that row `t` ran under (None: the newest)."""
        values = {name: knob.value for name, knob in self.knobs.items()}
        for changes in self.script(upto=t).values():
            values.update(changes)
        return values

    def graphs(self, t: int, rule: Literal["argmax", "top2"] = "argmax") -> dict[str, CellGraph]:
        """The cells derived at row `t`: the method's own graphs where it gives them, otherwise decoded from probs."""
        from nascore.space import Space

        step = self[t]
        if step.graphs is not None:
            return dict(step.graphs)
        if step.probs is None:
            raise UserError(f"t: row {t} has neither probs nor graphs to derive a cell from.")
        return Space.from_json(self.meta["space"]).decode(step.probs, rule)

    @property
    def status(self) -> str:
        """One of `STATUSES`. A run whose process died without closing it counts as stopped."""
        if self.path is None or self._status not in _WRITTEN or _is_written(self.path, self.id):
            return self._status
        if self.path.exists():
            self.refresh()  # it has ended since the last look, and its last rows say how
        return "stopped" if self._status in _WRITTEN else self._status

    @property
    def parent(self) -> Mapping[str, Any] | None:
        """`{"run": id, "t": t}` of the run this one branched from, or None."""
        return self.meta.get("parent")

    def checkpoint(self, upto: int) -> tuple[int, dict[str, Any], bytes] | None:
        """The newest checkpoint at or before row `upto`, of this run or of those it branched from.

        Returns:
            The row it goes on with, its state, and the bytes of a safetensors file; None if there is none.
        """
        if self.path is None:
            return None
        with _reading(self.path) as connection:
            run: str | None = self.id
            for _ in range(1000):  # a file may claim a run to be its own ancestor
                found = connection.execute(
                    "SELECT c.t, c.state, c.tensors FROM checkpoint c JOIN run ON run.key = c.run "
                    "WHERE run.id = ? AND c.t <= ? ORDER BY c.t DESC LIMIT 1",
                    (run, upto),
                ).fetchone()
                if found is not None:
                    return int(found[0]), _object(found[1]), bytes(found[2])
                meta = connection.execute("SELECT meta FROM run WHERE id = ?", (run,)).fetchone()
                parent = _object(meta[0]).get("parent") if meta else None
                if not parent:
                    return None
                run, upto = str(parent["run"]), min(upto, int(parent["t"]))
        return None

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write this run alone, without checkpoints, to a new file that is small enough to share.

        Raises:
            UserError: the file exists and `overwrite` is false, or its folder does not exist.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise UserError(f"path: {str(path)!r} exists; pass overwrite=True to replace it.")
        if not path.parent.is_dir():
            raise UserError(f"path: there is no folder {str(path.parent)!r}; make it first or name another.")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            writer = Writer(draft, self.meta, None if self.id == "memory" else self.id)
            try:
                for step in self:
                    writer.append(step, self._script.get(step.t))
                writer.status(self.status, self.error)
            finally:
                writer.close()
            draft.replace(path)
        return path

    def __repr__(self) -> str:
        what = " ".join(str(self.meta.get(key, "?")) for key in ("method", "task"))
        return f"<Recording {self.id}: {what}, {len(self)} rows, {self.status}>"


def _as_numpy(step: Step) -> Step:
    """`step` with numpy arrays and floats in place of tensors, without importing torch."""

    def number_of(value: Any) -> float:
        return float(value.detach() if hasattr(value, "detach") else value)

    def array_of(value: Any) -> Any:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        return None if value is None else np.array(value, np.float32)

    return replace(
        step,
        metrics={name: number_of(value) for name, value in step.metrics.items()},
        **{name: array_of(getattr(step, name)) for name in COLUMNS},
    )


def _read_shapes(text: Any) -> dict[str, tuple[int, ...]]:
    shapes = {choose("column", name, COLUMNS): tuple(shape) for name, shape in _object(text).items()}
    for name, shape in shapes.items():
        if not all(isinstance(n, int) and n >= 0 for n in shape) or np.prod(shape, dtype=float) > _LARGEST:
            raise ValueError(f"{name} has the shape {shape}")
    return shapes


def _read_metrics(text: Any) -> dict[str, float]:
    return {name: float(value) for name, value in _object(text).items()}


# ------------------------------------------------------------------------------------------ catalogue


def shipped() -> dict[str, Path]:
    """The recordings that come with the package: name → file."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.sqlite"))}


def _resolve(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if path.exists() or isinstance(path_or_name, Path):
        return path
    names = shipped()
    if path_or_name in names:
        return names[path_or_name]
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"recording: there is no file {path_or_name!r}.")
    allowed = ", ".join(names) or "(none)"
    raise UserError(
        f"recording: {path_or_name!r} is neither a file nor a shipped recording ({allowed}).{near(path_or_name, names)}"
    )


@dataclass(frozen=True)
class RunInfo:
    """One line of the catalogue. `knobs` are the values at the end, `result` the last value of every metric."""

    path: Path
    id: str
    method: str
    task: str
    seed: int | None
    epochs: int | None
    status: str
    rows: int
    created: str
    knobs: Mapping[str, float] = field(default_factory=dict)
    result: Mapping[str, float] = field(default_factory=dict)
    parent: Mapping[str, Any] | None = None
    error: str | None = None


def runs(
    place: str | Path = "runs",
    method: str | None = None,
    task: str | None = None,
    seed: int | None = None,
    status: str | None = None,
    where: Mapping[str, float | tuple[float, float]] | None = None,
) -> list[RunInfo]:
    """The catalogue of a file or of all files of a folder, oldest first; only runs that meet every filter given.

    Args:
        place: a recording or a folder of recordings (`*.sqlite`). In a folder a file that cannot be read is listed
            with the status "unreadable" and the reason, unless a filter is given.
        method: e.g. "snas".
        task: e.g. "digits".
        seed: the seed.
        status: one of `STATUSES`.
        where: knob or metric → the value, or (low, high) with both included, e.g. `{"lam": (0, 0.5)}`.

    Raises:
        UserError: `place` does not exist, or is a file that is not a recording.
    """
    place = Path(place)
    if status is not None:
        choose("status", status, STATUSES)
    wanted = {"method": method, "task": task, "seed": seed, "status": status}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not place.is_dir():
        found = _list(_resolve(place if place.exists() else str(place)))
    else:
        found = []
        for path in place.glob("*.sqlite"):
            try:
                found += _list(path)
            except UserError as error:
                found.append(RunInfo(path, "", "", "", None, None, "unreadable", 0, "", error=str(error)))
    ranges = {name: value if isinstance(value, tuple) else (value, value) for name, value in (where or {}).items()}

    def fits(info: RunInfo) -> bool:
        numbers = {**info.result, **info.knobs}
        inside = (low <= numbers.get(name, float("nan")) <= high for name, (low, high) in ranges.items())
        return all(getattr(info, name) == value for name, value in wanted.items()) and all(inside)

    return sorted(filter(fits, found), key=lambda info: info.created)


def _list(path: Path) -> list[RunInfo]:
    """Every run of one file, in the order they were begun."""
    _check(path)
    found = []
    with _reading(path) as connection:
        connection.execute("BEGIN")
        for key, run, status, error, text in connection.execute(
            "SELECT key, id, status, error, meta FROM run ORDER BY key"
        ).fetchall():
            meta = _object(text)
            rows = connection.execute("SELECT count(*) FROM step WHERE run = ?", (key,)).fetchone()[0]
            # Twice the distance of two measurements holds a measured row even where a step has two rows.
            reach = 2 * int(meta.get("measure_every") or 0) + 1
            last = connection.execute(
                "SELECT metrics FROM step WHERE run = ? AND t >= ? ORDER BY t", (key, rows - reach)
            ).fetchall()
            knobs = {name: float(knob["value"]) for name, knob in meta.get("knobs", {}).items()}
            changes = connection.execute("SELECT name, value FROM knob WHERE run = ? ORDER BY t", (key,)).fetchall()
            if status in _WRITTEN and not _is_written(path, run):
                status = "stopped"
            found.append(
                RunInfo(
                    path=path,
                    id=str(run),
                    method=str(meta.get("method", "")),
                    task=str(meta.get("task", "")),
                    seed=meta.get("seed"),
                    epochs=meta.get("epochs"),
                    status=str(status),
                    rows=int(rows),
                    created=str(meta.get("created", "")),
                    knobs={**knobs, **{str(name): float(value) for name, value in changes}},
                    result={name: value for row in last for name, value in _read_metrics(row[0]).items()},
                    parent=meta.get("parent"),
                    error=error,
                )
            )
    return found
