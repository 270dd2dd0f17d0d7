"""What every reader gives, and what readers share."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from ...tags import Span, SpanLabel, decode_tags
from ..data import open_text

_T = TypeVar("_T")

Task: TypeAlias = Literal["parse", "classify", "tag"]
Split: TypeAlias = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

# What the releases call their splits.
SPLIT_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("dev", "eval", "valid", "validation", "val"),
    "test": ("test",),
}


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text.

    Attributes:
        text: as the file has it.
        language: code as in the data set's own names (``en``), ``""`` where it says none.
        intent: of task ``parse``.
        slots: start, end and label of pieces of ``text``, ascending, without overlap.
        labels: of task ``classify``; exactly one unless the set is multi-label.
        tokens: start and end of the file's own tokens, for task ``tag``.
        id: of the row, the same for a text and its translations; ``""`` where the set has none.
    """

    text: str
    language: str = ""
    intent: str = ""
    slots: tuple[SpanLabel, ...] = ()
    labels: tuple[str, ...] = ()
    tokens: tuple[Span, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Skipped:
    """A row that could not be used.

    Attributes:
        path: its file.
        line: its line, from 1.
        reason: what is wrong with it.
    """

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.reason}"


@dataclass(frozen=True)
class Examples:
    """The labelled texts of one split.

    Attributes:
        task: ``parse`` (intent and slots), ``classify`` or ``tag``.
        rows: the texts.
        skipped: rows that were left out.
        multi_label: whether a text may have any number of labels.
        unparsed: by language, how many of the skipped rows are well-formed but have slots that
            overlap, so that no tagger can get them right.
    """

    task: Task
    rows: list[Example]
    skipped: list[Skipped] = field(default_factory=list)
    multi_label: bool = False
    unparsed: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.rows)


class BadRow(ValueError):
    """A row that cannot be used; the message says why."""


class Overlap(BadRow):
    """A row that is well-formed, but whose slots overlap.

    Attributes:
        language: as in `Example`.
    """

    def __init__(self, reason: str, language: str) -> None:
        super().__init__(reason)
        self.language = language


Row: TypeAlias = tuple[int, Example | BadRow]


@dataclass(frozen=True)
class Source:
    """The files that hold one split of one language.

    Attributes:
        split, language: what is in it.
        paths: one file, or several that belong together line by line; the first is the one that
            messages name.
    """

    split: Split
    language: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Kind:
    """A family of file layouts.

    Attributes:
        wanted: the layouts in words, for the message that none was found.
        find: everything there is below a folder (or about a file).
        read: line number and either an example or what is wrong with it, row by row.
        describe: task of a source, and whether it is multi-label.
        single_file: the path is a file and holds whatever split is asked for.
    """

    wanted: str
    find: Callable[[Path], list[Source]]
    read: Callable[[Source], Iterator[Row]]
    describe: Callable[[Source], tuple[Task, bool]]
    single_file: bool = False


def parses(_: Source) -> tuple[Task, bool]:
    """`Kind.describe` of intents and slots."""
    return "parse", False


def classifies(_: Source) -> tuple[Task, bool]:
    """`Kind.describe` of one label per text."""
    return "classify", False


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines from 1, without their ends and without a byte order mark.

    Raises:
        ValueError: a damaged gzip file.
    """
    try:
        with open_text(path) as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1:
                    line = line.removeprefix("\ufeff")
                yield number, line.removesuffix("\n").removesuffix("\r")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def rows_of_lines(path: Path, parse: Callable[[str], Example]) -> Iterator[Row]:
    """Each non-empty line, parsed."""
    for number, line in numbered_lines(path):
        if line:
            yield number, attempt(parse, line)


def attempt(parse: Callable[..., _T], *arguments: Any) -> _T | BadRow:
    """What ``parse`` returns, or the `BadRow` that it raises."""
    try:
        return parse(*arguments)
    except BadRow as error:
        return error


def existing(folder: Path, stems: Iterable[str], endings: Iterable[str]) -> Path | None:
    """The first of ``stem + ending`` that is a file, plain or gzip."""
    endings = list(endings)
    for stem in stems:
        for ending in endings:
            for zipped in ("", ".gz"):
                path = folder / f"{stem}{ending}{zipped}"
                if path.is_file():
                    return path
    return None


def language_folders(folder: Path, endings: Sequence[str]) -> list[Source]:
    """Sources of a layout ``LANGUAGE/SPLIT.ending``."""
    found = []
    for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
        for split, names in SPLIT_NAMES.items():
            path = existing(inner, names, endings)
            if path is not None:
                found.append(Source(split, inner.name, (path,)))
    return found


def split_files(folder: Path, endings: Sequence[str], language: str) -> list[Source]:
    """Sources of a layout ``SPLIT.ending``."""
    found = []
    for split, names in SPLIT_NAMES.items():
        path = existing(folder, names, endings)
        if path is not None:
            found.append(Source(split, language, (path,)))
    return found


def columns(line: str, count: int) -> list[str]:
    """The columns of a line with tabs.

    Raises:
        BadRow: another number of columns.
    """
    cells = line.split("\t")
    if len(cells) != count:
        raise BadRow(f"{len(cells)} columns instead of {count}")
    return cells


def json_object(line: str) -> dict[str, Any]:
    """The JSON object on a line.

    Raises:
        BadRow: it is none.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BadRow(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRow(f"not a JSON object: {line[:60]!r}")
    return value


def json_value(row: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """A value of a JSON object.

    Raises:
        BadRow: it is not there, or of another kind.
    """
    value = row.get(name)
    if not isinstance(value, kind):
        raise BadRow(f"{name} must be a {kind.__name__}, got {value!r}")
    return value


def json_id(row: Mapping[str, Any]) -> str:
    """The ``id`` of a JSON object if that is a string or a number, else ``""``."""
    value = row.get("id", "")
    return str(value) if isinstance(value, str | int) else ""


def parse_example(
    text: str, language: str, intent: str, slots: Iterable[Sequence[Any]], *, id: str = ""
) -> Example:
    """A checked example of task ``parse``; white space at a slot's ends is not part of it.

    Raises:
        BadRow: no text, no intent, or a slot outside the text or without a label.
        Overlap: slots overlap.
    """
    if text.strip() and not intent:
        raise BadRow("no intent")
    return replace(tag_example(text, language, slots, id=id), intent=intent)


def tag_example(
    text: str, language: str, slots: Iterable[Sequence[Any]], *, id: str = ""
) -> Example:
    """A checked example of task ``tag``, as :func:`parse_example`.

    Raises:
        BadRow: no text, or a slot outside the text or without a label.
        Overlap: slots overlap.
    """
    if not text.strip():
        raise BadRow("no text")
    return Example(text, language, slots=checked_slots(text, language, slots), id=id)


def checked_slots(
    text: str, language: str, slots: Iterable[Sequence[Any]]
) -> tuple[SpanLabel, ...]:
    """Slots of a text, ascending, without white space at their ends.

    Raises:
        BadRow: one is outside the text or without a label.
        Overlap: they overlap.
    """
    checked = sorted(_checked_slot(text, slot) for slot in slots)
    for before, after in pairwise(checked):
        if after[0] < before[1]:
            raise Overlap(f"slots overlap: {before!r} and {after!r}", language)
    return tuple(checked)


def _checked_slot(text: str, slot: Sequence[Any]) -> SpanLabel:
    try:
        start, end, label = slot
    except (TypeError, ValueError):
        raise BadRow(f"a slot must be start, end and label, got {slot!r}") from None
    whole = type(start) is int and type(end) is int
    if not whole or not 0 <= start < end <= len(text):
        raise BadRow(f"slot {slot!r} is not within the {len(text)} characters of the text")
    if not isinstance(label, str) or not label:
        raise BadRow(f"slot {slot!r} has no label")
    piece = text[start:end]
    kept = piece.strip()
    if not kept:
        raise BadRow(f"slot {slot!r} holds white space only")
    start += len(piece) - len(piece.lstrip())
    return start, start + len(kept), label


def label_example(text: str, language: str, labels: Iterable[str], *, id: str = "") -> Example:
    """A checked example of task ``classify``.

    Raises:
        BadRow: no text, or an empty label.
    """
    if not text.strip():
        raise BadRow("no text")
    labels = tuple(labels)
    if not all(labels):
        raise BadRow("no label")
    return Example(text, language, labels=labels, id=id)


def tagged_tokens(tokens: Sequence[str], tags: Sequence[str]) -> Example:
    """An example of task ``tag``: the tokens with a space between, and the slots of IOB tags.

    Raises:
        BadRow: not as many tags as tokens, no token, or something that is no tag.
    """
    if not tokens:
        raise BadRow("no text")
    ends = list(accumulate(len(token) + 1 for token in tokens))
    spans = [(end - len(token) - 1, end - 1) for token, end in zip(tokens, ends, strict=True)]
    if len(tokens) != len(tags):
        raise BadRow(f"{len(tokens)} tokens but {len(tags)} tags")
    try:
        slots = decode_tags(spans, tags)
    except ValueError as error:
        raise BadRow(str(error)) from None
    return Example(" ".join(tokens), slots=tuple(slots), tokens=tuple(spans))


def space_separated(cell: str) -> list[str]:
    """The words between spaces, U+0020 only: some tokens hold a no-break space."""
    return [word for word in cell.split(" ") if word]


def slots_of_string(cell: str, separator: str) -> list[tuple[int, int, str]]:
    """Slots written ``start:end:label`` with a separator between; a label may hold colons.

    Raises:
        BadRow: another form.
    """
    slots = []
    for item in filter(None, cell.split(separator)):
        start, _, rest = item.partition(":")
        end, _, label = rest.partition(":")
        try:
            slots.append((int(start), int(end), label))
        except ValueError:
            raise BadRow(f"a slot must be 'start:end:label', got {item!r}") from None
    return slots


def read_examples(
    kinds: Mapping[str, Kind], spec: str, split: str, languages: Sequence[str] | None = None
) -> Examples:
    """`pqrnn_native.train.readers.read_examples` with the known kinds given."""
    kind, sources = _find(kinds, spec)
    if split not in SPLITS:
        raise ValueError(f"split must be 'train', 'dev' or 'test', got {split!r}")
    if isinstance(languages, str):
        raise TypeError(f"languages must be a sequence of codes, got the str {languages!r}")
    if not kind.single_file:
        sources = _select(sources, spec, split, languages)
    rows: list[Example] = []
    skipped: list[Skipped] = []
    unparsed: dict[str, int] = {}
    for source in sources:
        for line, row in kind.read(source):
            if isinstance(row, Example):
                rows.append(row)
                continue
            skipped.append(Skipped(str(source.paths[0]), line, str(row)))
            if isinstance(row, Overlap):
                unparsed[row.language] = unparsed.get(row.language, 0) + 1
    if not rows:
        why = f"; the first of {len(skipped)} bad ones: {skipped[0]}" if skipped else ""
        raise ValueError(f"{spec!r} holds no usable row of split {split!r}{why}")
    if kind.single_file and languages is not None:
        _check_languages(spec, languages, {row.language for row in rows})
        rows = [row for row in rows if row.language in languages]
        unparsed = {k: n for k, n in unparsed.items() if k in languages}
    task, multi_label = kind.describe(sources[0])
    return Examples(task, rows, skipped, multi_label, unparsed)


def splits(kinds: Mapping[str, Kind], spec: str) -> tuple[Split, ...]:
    """`pqrnn_native.train.readers.splits` with the known kinds given."""
    kind, sources = _find(kinds, spec)
    if kind.single_file:
        return ("train",)
    there = {source.split for source in sources}
    return tuple(split for split in SPLITS if split in there)


def _find(kinds: Mapping[str, Kind], spec: str) -> tuple[Kind, list[Source]]:
    name, separator, rest = spec.partition(":")
    if not separator or not rest or name not in kinds:
        wanted = ", ".join(f"{k}:PATH" for k in kinds)
        raise ValueError(f"data must be named as one of {wanted}, got {spec!r}")
    kind, path = kinds[name], Path(rest)
    fits = path.is_file() if kind.single_file else path.is_dir()
    sources = kind.find(path) if fits else []
    if not sources:
        state = "is not there" if not path.exists() else "holds none"
        if kind.single_file:
            state = "is a folder" if path.is_dir() else "is not there"
        elif path.is_file():
            state = "is a file"
        raise ValueError(f"{name} needs {kind.wanted}, but {str(path)!r} {state}")
    return kind, sources


def _select(
    sources: list[Source], spec: str, split: str, languages: Sequence[str] | None
) -> list[Source]:
    if languages is not None:
        _check_languages(spec, languages, {source.language for source in sources})
    of_split = {source.language: source for source in sources if source.split == split}
    # Without a choice of languages a set may lack a split in some of them.
    chosen = list(of_split) if languages is None else list(dict.fromkeys(languages))
    missing = [language for language in chosen if language not in of_split]
    if missing or not chosen:
        where = f" for {', '.join(missing)}" if missing else ""
        there = ", ".join(s for s in SPLITS if any(source.split == s for source in sources))
        raise FileNotFoundError(f"{spec!r} has no split {split!r}{where} (it has: {there})")
    return [of_split[language] for language in chosen]


def _check_languages(spec: str, languages: Sequence[str], there: Collection[str]) -> None:
    if not languages:
        raise ValueError("languages must be None or name at least one language")
    unknown = [language for language in languages if language not in there]
    if unknown:
        known = ", ".join(sorted(there)) or "none"
        raise ValueError(f"{spec!r} has no language {', '.join(unknown)} (it has: {known})")
