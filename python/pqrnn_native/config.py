"""The hyper-parameters of a model: frozen dataclasses, validated, stored as JSON in model files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

__all__ = ["PQRNNConfig", "ProjectionConfig"]

Task = Literal["embedding", "classification", "parsing"]
Pooling = Literal["f", "fo", "ifo"]
Split = Literal["words", "space", "codepoints"]
Hash = Literal["murmur", "xfixhash8", "xfixhash16", "xfixhash32", "unicodehash8", "unicodehash16"]
Char = Literal["unsigned", "signed"]
Precision = Literal["float32", "int8"]

_T = TypeVar("_T", bound="ProjectionConfig | PQRNNConfig")


# What a field annotated so may hold. Names of choices, not listed, are str.
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "tuple[str, ...]": (tuple,),
    "tuple[tuple[int, ...], ...]": (tuple,),
}


def _check_types(config: ProjectionConfig | PQRNNConfig) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kind = str(field.type)  # a string, as annotations are not evaluated in this module
        if kind == "ProjectionConfig":
            if not isinstance(value, ProjectionConfig):
                raise TypeError(f"{field.name} must be ProjectionConfig, got {value!r}")
            continue
        allowed = _TYPES.get(kind, (str,))
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
            wanted = kind if kind in _TYPES else "str"
            raise TypeError(f"{field.name} must be {wanted}, got {value!r}")
        if kind == "float" and isinstance(value, int):
            if abs(value) > 1:  # no float field allows it, and float() of a huge int overflows
                raise ValueError(f"{field.name} must be in [0.0, 1.0], got {value!r}")
            object.__setattr__(config, field.name, float(value))
        if isinstance(value, str):
            _check_unicode(field.name, value)


def _check_unicode(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must not hold lone surrogates, got {value!r}") from None


def _check_choice(config: object, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")


def _check_range(config: object, name: str, low: float, high: float) -> None:
    value = getattr(config, name)
    if not low <= value <= high:  # also catches NaN
        raise ValueError(f"{name} must be in [{low}, {high}], got {value!r}")


def _check_names(
    config: PQRNNConfig, name: str, use: Literal["forbidden", "optional", "required"]
) -> None:
    names = getattr(config, name)
    for entry in names:
        if not isinstance(entry, str):
            raise TypeError(f"{name} must hold str, got {entry!r}")
        _check_unicode(name, entry)
    if len(names) > 65536:
        raise ValueError(f"{name} must hold at most 65536 names, got {len(names)}")
    if len(set(names)) != len(names):
        twice = next(entry for entry in names if names.count(entry) > 1)
        raise ValueError(f"{name} must be distinct, got {twice!r} twice")
    if use == "required" and not names:
        raise ValueError(f"{name} must not be empty for task {config.task!r}, got ()")
    if use == "forbidden" and names:
        raise ValueError(f"{name} must be empty for task {config.task!r}, got {names!r}")


def _check_intent_tags(config: PQRNNConfig) -> None:
    rows: Any = config.intent_tags
    tags = len(config.slots)
    if rows and len(rows) != len(config.intents):
        raise ValueError(
            f"intent_tags must be empty or have a row for each of {len(config.intents)} intents, "
            f"got {len(rows)}"
        )
    for row in rows:
        whole = isinstance(row, tuple) and all(type(number) is int for number in row)
        if not whole:
            raise TypeError(f"intent_tags must hold tuples of int, got {row!r}")
        if list(row) != sorted(set(row)) or (row and not 0 <= row[0] <= row[-1] < tags):
            raise ValueError(
                f"intent_tags must hold ascending numbers of the {tags} slots, got {row!r}"
            )
        if row and "O" in config.slots and config.slots.index("O") not in row:
            raise ValueError(
                f"intent_tags must hold the tag 'O' in each row that is not empty, got {row!r}"
            )


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """Which ternary features a text gets: the keyword arguments of :class:`Projection`.

    Attributes:
        feature_size: Columns of the feature matrix, 1 to 65536.
        split: ``"words"`` (Unicode word boundaries), ``"space"`` or ``"codepoints"``.
        hash: Name of the hash function.
        char: ``"unsigned"``: every byte of a word counts. ``"signed"``: as the published operator.
        lower: Lower-case each token first.
        bos: Put a begin-of-text position before the tokens.
        eos: Put an end-of-text position after the tokens.
        max_tokens: Upper limit of tokens; 0 or less: none.
        vocabulary: Characters to keep; empty: all.
        alphabetic_only: Drop characters that are neither alphabetic nor a space.
        normalize_repetition: Shorten runs of the same character.
        normalize_spaces: Shorten runs of spaces.
        separators: Characters that split tokens besides the space.
        first_cap: Probability of showing the feature "starts with a capital"; 0: no such feature.
        all_caps: Probability of showing the feature "all capitals"; 0: no such feature.
        novelty_bits: 0 (no such feature) to 7: how often the word occurred before.
        doc_size_levels: 0 (no such feature) to 16: logarithm of the text's length.
        distortion: Probability of distorting a token while training; inference ignores it.
        split_apostrophes: Apostrophes are tokens of their own; ``split="words"`` only.
        ngram_size: The last features, made of character n-grams; 0 (none) or a multiple of 32.
            ``feature_size`` must then be one too, and ``hash`` ``"murmur"``.
        ngram_min: Characters of the shortest n-gram, 1 to 8.
        ngram_max: Characters of the longest n-gram, ``ngram_min`` to 8.
        ngram_runs: n-grams reach into the tokens that follow, or go before, without a gap.
        token_hashes: Features of a whole token that are not zero, each chosen by a hash function;
            0: about half of them. Above 0, ``feature_size`` must be a multiple of 32 and ``hash``
            ``"murmur"``.
        ngram_hashes: The same of each n-gram; 0: 32 of every 512. Without ``ngram_size`` it says
            nothing.

    Raises:
        TypeError: A field is of the wrong type.
        ValueError: A field is out of range.
    """

    feature_size: int = 512
    split: Split = "words"
    hash: Hash = "murmur"
    char: Char = "unsigned"
    lower: bool = True
    bos: bool = False
    eos: bool = False
    max_tokens: int = -1
    vocabulary: str = ""
    alphabetic_only: bool = False
    normalize_repetition: bool = False
    normalize_spaces: bool = False
    separators: str = ""
    first_cap: float = 0.0
    all_caps: float = 0.0
    novelty_bits: int = 0
    doc_size_levels: int = 0
    distortion: float = 0.0
    split_apostrophes: bool = False
    ngram_size: int = 0
    ngram_min: int = 2
    ngram_max: int = 4
    ngram_runs: bool = True
    token_hashes: int = 0
    ngram_hashes: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        _check_range(self, "feature_size", 1, 65536)
        _check_choice(self, "split", get_args(Split))
        _check_choice(self, "hash", get_args(Hash))
        _check_choice(self, "char", get_args(Char))
        _check_range(self, "max_tokens", -(2**31), 2**31 - 1)
        _check_range(self, "first_cap", 0.0, 1.0)
        _check_range(self, "all_caps", 0.0, 1.0)
        _check_range(self, "novelty_bits", 0, 7)
        _check_range(self, "doc_size_levels", 0, 16)
        _check_range(self, "distortion", 0.0, 1.0)
        if self.alphabetic_only and self.vocabulary:
            raise ValueError(
                f"vocabulary must be empty with alphabetic_only=True, got {self.vocabulary!r}"
            )
        if self.split_apostrophes and self.split != "words":
            raise ValueError(
                f"split_apostrophes=True needs split='words', got split={self.split!r}"
            )
        self._check_ngrams_and_hashes()
        # Extra feature number n (from the end) needs that many columns.
        for columns, name in enumerate(
            ("novelty_bits", "doc_size_levels", "first_cap", "all_caps"), start=1
        ):
            if getattr(self, name) and self.feature_size < columns:
                raise ValueError(
                    f"feature_size must be at least {columns} with {name}="
                    f"{getattr(self, name)!r}, got {self.feature_size!r}"
                )

    def _check_ngrams_and_hashes(self) -> None:
        _check_range(self, "ngram_min", 1, 8)
        _check_range(self, "ngram_max", self.ngram_min, 8)
        if self.ngram_size % 32 or not 0 <= self.ngram_size <= self.feature_size:
            raise ValueError(
                f"ngram_size must be a multiple of 32 in [0, {self.feature_size}], "
                f"got {self.ngram_size!r}"
            )
        _check_range(self, "token_hashes", 0, self.feature_size - self.ngram_size)
        _check_range(self, "ngram_hashes", 0, self.ngram_size or self.feature_size)
        for name in ("ngram_size", "token_hashes"):
            value = getattr(self, name)
            if value and self.feature_size % 32:
                raise ValueError(
                    f"feature_size must be a multiple of 32 with {name}={value!r}, "
                    f"got {self.feature_size!r}"
                )
            if value and self.hash != "murmur":
                raise ValueError(f"hash must be 'murmur' with {name}={value!r}, got {self.hash!r}")

    @property
    def has_extras(self) -> bool:
        """Whether some features are not ternary: capitals, novelty or size."""
        return bool(self.first_cap or self.all_caps or self.novelty_bits or self.doc_size_levels)

    def to_json(self) -> str:
        """The settings as one line of JSON."""
        return _to_json(self)

    @classmethod
    def from_json(cls, text: str) -> ProjectionConfig:
        """The inverse of :meth:`to_json`; missing fields get their defaults.

        Raises:
            ValueError: Not a JSON object, an unknown or repeated key, or a value out of range.
            TypeError: A value of the wrong type.
        """
        return _from_mapping(cls, _parse_object(text))


@dataclasses.dataclass(frozen=True)
class PQRNNConfig:
    """Everything that decides the shape of a pQRNN model.

    Attributes:
        task: ``"embedding"``, ``"classification"`` or ``"parsing"``.
        projection: Settings of the text projection; its ``feature_size`` is the input width F.
        bottleneck_size: Width B of the dense layer over the features, 1 to 8192.
        state_size: State H of each direction, 1 to 8192.
        kernel_size: Tokens k that a gate sees, 1 to 64.
        num_layers: Stacked QRNN layers, 1 to 64.
        bidirectional: Each layer also runs from the end; its output is then 2H wide.
        pooling: ``"f"``, ``"fo"`` or ``"ifo"``.
        zoneout: Probability of keeping a state while training, 0 <= p < 1; layer l uses
            ``zoneout ** (l + 1)``.
        attention_heads: Heads A of the attention pooling; divides the pooled width.
        skip: Concatenate the bottleneck's output to the last layer's before pooling.
        output_size: Length of a sentence vector (task ``"embedding"`` only), 1 to 65536.
        labels: Class names (task ``"classification"`` only).
        intents: Intent names (task ``"parsing"`` only); none for a pure tagger.
        slots: Slot tag names (task ``"parsing"`` only).
        multi_label: Classes do not exclude each other: sigmoid instead of softmax.
        slot_context: The slot logits of each token get a learned term of the pooled sentence
            vector (task ``"parsing"`` only).
        crf: Learned scores of what tag follows what (task ``"parsing"`` only): a linear-chain CRF.
        intent_tags: For each intent the numbers of the slot tags that a text of that intent may
            have, ascending, ``"O"`` among them, or ``()`` where it may have all; ``()`` alone: all
            may have all.
        precision: Arithmetic of inference: ``"float32"``, or ``"int8"`` for whole numbers of 8 bits
            whose results are the same bits on every machine.

    Raises:
        TypeError: A field is of the wrong type.
        ValueError: A field is out of range, or the fields do not fit together.
    """

    task: Task = "embedding"
    projection: ProjectionConfig = ProjectionConfig()
    bottleneck_size: int = 256
    state_size: int = 128
    kernel_size: int = 2
    num_layers: int = 4
    bidirectional: bool = True
    pooling: Pooling = "fo"
    zoneout: float = 0.0
    attention_heads: int = 1
    skip: bool = False
    output_size: int = 256
    labels: tuple[str, ...] = ()
    intents: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    multi_label: bool = False
    slot_context: bool = False
    crf: bool = False
    intent_tags: tuple[tuple[int, ...], ...] = ()
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        rows: Any = self.intent_tags
        if isinstance(rows, list | tuple):
            kept = tuple(tuple(row) if isinstance(row, list) else row for row in rows)
            object.__setattr__(self, "intent_tags", kept)
        for name in ("labels", "intents", "slots"):
            names = getattr(self, name)
            if isinstance(names, Sequence) and not isinstance(names, str | bytes):
                object.__setattr__(self, name, tuple(names))
        _check_types(self)
        _check_choice(self, "task", get_args(Task))
        _check_choice(self, "pooling", get_args(Pooling))
        _check_choice(self, "precision", get_args(Precision))
        _check_range(self, "bottleneck_size", 1, 8192)
        _check_range(self, "state_size", 1, 8192)
        _check_range(self, "kernel_size", 1, 64)
        _check_range(self, "num_layers", 1, 64)
        _check_range(self, "output_size", 1, 65536)
        _check_range(self, "zoneout", 0.0, 1.0)
        if self.zoneout == 1.0:
            raise ValueError(f"zoneout must be below 1, got {self.zoneout!r}")
        if self.attention_heads < 1 or self.pooled_size % self.attention_heads:
            raise ValueError(
                f"attention_heads must be a divisor of the pooled width {self.pooled_size}, "
                f"got {self.attention_heads!r}"
            )
        parsing = self.task == "parsing"
        _check_names(self, "labels", "required" if self.task == "classification" else "forbidden")
        _check_names(self, "intents", "optional" if parsing else "forbidden")
        _check_names(self, "slots", "required" if parsing else "forbidden")
        if self.multi_label and self.task != "classification":
            raise ValueError(f"multi_label=True needs task='classification', got {self.task!r}")
        if self.slot_context and not parsing:
            raise ValueError(f"slot_context=True needs task='parsing', got {self.task!r}")
        if self.crf and not parsing:
            raise ValueError(f"crf=True needs task='parsing', got {self.task!r}")
        _check_intent_tags(self)

    @property
    def directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def gates(self) -> int:
        """Gates G per state: z and f, with pooling ``"fo"`` also o, with ``"ifo"`` also i and o."""
        return 1 + len(self.pooling)

    @property
    def layer_size(self) -> int:
        """Width of a layer's output: H or 2H."""
        return self.directions * self.state_size

    @property
    def pooled_size(self) -> int:
        """Width P of what the attention pools: the last layer's output, with skip also B."""
        return self.layer_size + (self.bottleneck_size if self.skip else 0)

    def parameter_count(self) -> int:
        """Number of weights and biases of the model."""
        shapes = self.tensor_shapes().items()
        return sum(math.prod(shape) for name, shape in shapes if not name.endswith(".range"))

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of a model file, in file order.

        Scale tensors of 8-bit weights are not listed: ``<name>_scale`` of shape ``[rows]`` stands
        beside each weight that is stored so. With ``precision="int8"`` the ranges of activations
        are: ``bottleneck.range`` [1], the largest output of the bottleneck, and ``pooled.range``,
        the largest magnitude in the pooled vector, with ``skip`` first that of the bottleneck's
        part.
        """
        shapes: dict[str, tuple[int, ...]] = {}

        def dense(name: str, rows: int, *columns: int) -> None:
            shapes[f"{name}.weight"] = (rows, *columns)
            shapes[f"{name}.bias"] = (rows,)

        dense("bottleneck", self.bottleneck_size, self.projection.feature_size)
        width = self.bottleneck_size
        for layer in range(self.num_layers):
            for direction in ("forward", "backward")[: self.directions]:
                rows = self.gates * self.state_size
                dense(f"layers.{layer}.{direction}", rows, self.kernel_size, width)
            width = self.layer_size
        dense("attention", self.attention_heads, self.pooled_size)
        if self.task == "parsing":
            if self.intents:
                dense("intent", len(self.intents), self.pooled_size)
            dense("slots", len(self.slots), self.pooled_size)
            if self.slot_context:
                shapes["slots.context.weight"] = (len(self.slots), self.pooled_size)
            if self.crf:
                shapes["slots.transitions"] = (len(self.slots), len(self.slots))
        else:
            rows = self.output_size if self.task == "embedding" else len(self.labels)
            dense("head", rows, self.pooled_size)
        if self.precision == "int8":
            shapes["bottleneck.range"] = (1,)
            shapes["pooled.range"] = (2 if self.skip else 1,)
        return shapes

    def to_json(self) -> str:
        """The configuration as one line of JSON."""
        return _to_json(self)

    @classmethod
    def from_json(cls, text: str) -> PQRNNConfig:
        """The inverse of :meth:`to_json`; missing fields get their defaults.

        Raises:
            ValueError: Not a JSON object, an unknown or repeated key, or a value out of range.
            TypeError: A value of the wrong type.
        """
        values = _parse_object(text)
        projection = values.get("projection", {})
        if not isinstance(projection, dict):
            raise TypeError(f"projection must be an object, got {projection!r}")
        values["projection"] = _from_mapping(ProjectionConfig, projection)
        return _from_mapping(cls, values)


def _to_json(config: ProjectionConfig | PQRNNConfig) -> str:
    return json.dumps(dataclasses.asdict(config), separators=(",", ":"))


def _parse_object(text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
        return values

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    try:
        values = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise ValueError("configuration is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError(f"a configuration must be a JSON object, got {text[:60]!r}")
    return values


def _from_mapping(cls: type[_T], values: Mapping[str, Any]) -> _T:
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(
            f"unknown key {unknown[0]!r} in {cls.__name__}; the file may come from a newer version"
        )
    return cls(**values)
