"""Results of sweeps in one SQLite file: a row a result, keyed by the digest of what decides it.

A digest is stored once, whoever writes it; several processes may write at the same time. A row
holds no host, path or date. Which of several results of one point is the newest is a running
number: the last one that a sweep made, or found here and asked for again.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from narrowgauge import output
from narrowgauge.golden.errors import UsageError

__all__ = ["DEFAULT", "Result", "Store"]

DEFAULT = "build/results.sqlite"
"""Where sweeps keep their results unless told."""

_APPLICATION = 0x6E676175  # "ngau", so that another program's database is told apart
_SCHEMA = 1
_WAIT = 60.0
"""Seconds to wait for another writer, whose transaction is one row."""
_ROWS = """
CREATE TABLE results (
  digest TEXT PRIMARY KEY,
  turn INTEGER NOT NULL,
  measure TEXT NOT NULL,
  point TEXT NOT NULL,
  name TEXT NOT NULL,
  library TEXT,
  parameters TEXT NOT NULL,
  value TEXT NOT NULL,
  stamp TEXT NOT NULL,
  seconds REAL NOT NULL
)
"""
_FIELDS = ("digest", "measure", "point", "name", "parameters", "value", "stamp", "seconds")
_JSON = ("parameters", "value", "stamp")
_NEXT = "(SELECT coalesce(max(turn), 0) + 1 FROM results)"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measure of one point.

    Attributes
    ----------
    digest : sha256 of measure, name, parameters and stamp
    measure : "area", "verify", ... (`narrowgauge.measures`)
    point : `unit/point`
    name : the same with its overridden parameters, as the command line takes them
    parameters : all parameters of the point
    value : the figures, plain JSON
    stamp : what made them: arguments of the measure, library, digests of sources, tool versions
    seconds : time that it took where it was made
    """

    digest: str
    measure: str
    point: str
    name: str
    parameters: dict[str, Any]
    value: Any
    stamp: dict[str, Any]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


class Store:
    """The results in the file at `path`; it is made by the first `check` or `add`.

    Every failure is a `UsageError` of one line that names the file: it cannot be written or read,
    is no database, is one of another program or version, or its disk is full. A row is there whole
    or not at all.
    """

    def __init__(self, path: str | Path = DEFAULT) -> None:
        self.path = Path(path)

    def check(self) -> None:
        """Make the file where it is missing, and raise now where nothing could be added later."""
        output.folder(self.path.parent)
        with self._open("write to") as connection:
            # The same number again: a write that changes nothing, but needs all that a write needs.
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")

    def add(self, result: Result) -> bool:
        """Keep a result; False where its digest is there already, which changes nothing."""
        output.folder(self.path.parent)
        row = asdict(result) | {name: _text(getattr(result, name)) for name in _JSON}
        row["library"] = result.stamp.get("library")
        columns = [*_FIELDS, "library"]
        with self._open("write to") as connection:
            added = connection.execute(
                f"INSERT OR IGNORE INTO results (turn, {', '.join(columns)}) "
                f"VALUES ({_NEXT}, {', '.join(f':{name}' for name in columns)})",
                row,
            ).rowcount
            return added == 1

    def recall(self, digests: Iterable[str]) -> dict[str, Result]:
        """Those of some results that are here, by digest; each counts as the newest of its point.

        Nothing is written where they are the newest already.
        """
        wanted = list(digests)
        if not self.path.exists():
            return {}
        with self._open("read") as connection:
            found: dict[str, Result] = {}
            stale: list[str] = []
            latest = {row["digest"] for row in connection.execute(_latest("digest"))}
            for digest in wanted:
                query = "SELECT * FROM results WHERE digest = ?"
                for row in connection.execute(query, (digest,)):
                    found[digest] = self._result(row)
                    stale += [] if digest in latest else [digest]
        if stale:
            with self._open("write to") as connection:
                for digest in stale:
                    turn = f"UPDATE results SET turn = {_NEXT} WHERE digest = ?"
                    connection.execute(turn, (digest,))
        return found

    def rows(
        self,
        measure: str | None = None,
        names: Sequence[str] | None = None,
        *,
        library: str | None = None,
    ) -> list[Result]:
        """The newest result of each point, parameters, measure and library.

        Parameters
        ----------
        measure : only this one
        names : only these, each `unit`, `unit/point` or `unit/point --set NAME=VALUE`
        library : only results that were made with it, and those that take none

        Ordered by point and measure. A file that is not there is a `UsageError`.
        """
        if not self.path.exists():
            raise UsageError(f"no results in {str(self.path)!r}: narrowgauge sweep makes them")
        where, values = "1", []
        if measure is not None:
            where, values = f"{where} AND measure = ?", [measure]
        if library is not None:
            where, values = f"{where} AND (library IS NULL OR library = ?)", [*values, library]
        with self._open("read") as connection:
            rows = [self._result(row) for row in connection.execute(_latest("*", where), values)]
        if names is None:
            return rows
        chosen = set(names)
        return [r for r in rows if chosen & {r.name, r.point, r.point.partition("/")[0]}]

    def _result(self, row: sqlite3.Row) -> Result:
        plain = {name: row[name] for name in _FIELDS}
        try:
            return Result(**plain | {name: json.loads(plain[name]) for name in _JSON})
        except ValueError:
            digest = str(plain["digest"])[:12]
            raise self._error("read", f"result {digest} is damaged") from None

    @contextmanager
    def _open(self, verb: str) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction, which an error takes back."""
        try:
            connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        except sqlite3.Error as error:
            raise self._error(verb, error) from None
        try:
            connection.row_factory = sqlite3.Row
            self._prepare(connection)
            connection.execute("BEGIN" if verb == "read" else "BEGIN IMMEDIATE")
            with connection:
                yield connection
        except sqlite3.Error as error:
            raise self._error(verb, error) from None
        finally:
            connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the table in a new file; refuse the file of another program or version."""

        def number(pragma: str) -> int:
            return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])

        if number("application_id") != _APPLICATION:
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have made the table while this one waited.
            if number("application_id") != _APPLICATION:
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise self._error("use", "it is a database of something else")
                connection.execute(_ROWS)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_SCHEMA}")
            connection.commit()
        if (schema := number("user_version")) != _SCHEMA:
            raise self._error("use", f"its schema is {schema}, this version has {_SCHEMA}")

    def _error(self, verb: str, reason: object) -> UsageError:
        return UsageError(f"cannot {verb} the results in {str(self.path)!r}: {reason}")


def _latest(columns: str, where: str = "1") -> str:
    """Query for the row with the highest turn of each point, parameters, measure and library."""
    return (
        f"SELECT {columns}, max(turn) FROM results WHERE {where} "
        "GROUP BY name, parameters, measure, library ORDER BY name, measure, library"
    )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
