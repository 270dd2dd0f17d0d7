"""Teacher vectors on disk: computed once, memory-mapped, resumable after any interruption.

A cache is a folder per teacher with three files::

    meta.json     {"teacher": name, "dim": d, "format": 1}
    vectors.f16   float16 [rows, d], row-major, appended to
    keys.bin      16-byte BLAKE2b digests of the texts, one per row, appended to

Vectors are written before their keys, so a row counts only once its key is there: after a kill the
surplus tail of ``vectors.f16`` is cut off by the next call that adds rows, and the work goes on
from the last whole chunk. Reading changes nothing, and may go on while another process adds rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..checkpoint import write_whole
from .teachers import StoredTeacher, Teacher

_KEY_BYTES = 16
_FORMAT = 1


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


class TeacherCache:
    """The vectors of one teacher, keyed by text.

    Args:
        root: folder that holds the caches of all teachers; a :class:`.StoredTeacher` has its own.
        teacher: its ``name`` and ``dim`` key the cache; it is called only for texts not yet there.

    Raises:
        ValueError: the folder belongs to a teacher of another name or width.
    """

    def __init__(self, root: str | Path, teacher: Teacher) -> None:
        self.teacher = teacher
        if isinstance(teacher, StoredTeacher):
            self.folder = teacher.folder
        else:
            self.folder = Path(root) / "".join(
                c if c.isalnum() or c in "-._" else "_" for c in teacher.name
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = {"teacher": teacher.name, "dim": teacher.dim, "format": _FORMAT}
        path = self.folder / "meta.json"
        if path.exists():
            found = json.loads(path.read_text("utf-8"))
            if found != meta:
                raise ValueError(f"cache {str(self.folder)!r} holds {found}, wanted {meta}")
        else:
            write_whole(path, [json.dumps(meta).encode()])
        self._vectors, self._keys = self.folder / "vectors.f16", self.folder / "keys.bin"
        self._row_bytes = {self._vectors: 2 * teacher.dim, self._keys: _KEY_BYTES}
        self._rows: dict[bytes, int] = {}
        self._recover()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._rows

    def _recover(self) -> None:
        """Learn of whole rows that are there and not known yet."""
        if not all(path.exists() for path in self._row_bytes):
            return
        rows = min(path.stat().st_size // size for path, size in self._row_bytes.items())
        with open(self._keys, "rb") as keys:
            keys.seek(len(self._rows) * _KEY_BYTES)
            for row in range(len(self._rows), rows):
                self._rows[keys.read(_KEY_BYTES)] = row

    def _cut(self) -> None:
        """Leave whole rows alone."""
        for path, size in self._row_bytes.items():
            path.touch()
            os.truncate(path, len(self._rows) * size)

    def add(
        self,
        texts: Sequence[str],
        *,
        chunk: int = 2048,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Compute and store the vectors of every text that is not yet cached.

        Args:
            texts: any order, repeats allowed.
            chunk: rows written (and made safe from a kill) at a time.
            progress: called with (texts done, texts in all) after each chunk.
        """
        self._recover()  # another process may have added rows
        todo = list({k: t for t in texts if (k := _key(t)) not in self._rows}.items())
        if progress:
            progress(0, len(todo))
        if not todo:
            return
        self._cut()
        with open(self._vectors, "ab") as vectors, open(self._keys, "ab") as keys:
            for start in range(0, len(todo), chunk):
                part = todo[start : start + chunk]
                rows = self.teacher([text for _, text in part]).astype(np.float16)
                vectors.write(rows.tobytes())
                vectors.flush()
                os.fsync(vectors.fileno())
                keys.write(b"".join(key for key, _ in part))
                keys.flush()
                for key, _ in part:
                    self._rows[key] = len(self._rows)
                if progress:
                    progress(start + len(part), len(todo))

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """Row of each text in :attr:`vectors`: int64 ``[n]``.

        Raises:
            KeyError: a text is not cached; call :meth:`add` first.
        """
        try:
            return np.array([self._rows[_key(text)] for text in texts], dtype=np.int64)
        except KeyError:
            missing = next(text for text in texts if _key(text) not in self._rows)
            raise KeyError(f"text not in the teacher cache: {missing!r}") from None

    @property
    def vectors(self) -> np.ndarray:
        """All cached vectors: float16 ``[rows, dim]``, memory-mapped, read-only."""
        shape = (len(self._rows), self.teacher.dim)
        if not shape[0]:
            return np.zeros(shape, np.float16)
        return np.memmap(self._vectors, dtype=np.float16, mode="r", shape=shape)
