"""Training a parser, a classifier or a tagger from labelled examples: one call, one run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..checkpoint import StorageType, load_tensors, read_metadata, read_model
from ..config import PQRNNConfig, ProjectionConfig
from ..tags import collect_tags, collect_tags_by_intent
from . import supervised
from .augment import Augment, Augmentation, augmentations
from .augment.base import describe
from .batches import digest
from .devices import bfloat16_pays, find_device
from .graph import Answers
from .inputs import Inputs
from .learner import Learner, projected
from .metrics import Report
from .probe import fit_head
from .processes import joined
from .readers import Example, Examples
from .reports import chosen_metric, report, sentence_names
from .rivals import rival
from .rows import RowSource, encode_rows, token_spans
from .saving import BestModel, make_folder, storage_of, write_report
from .settings import Task, TrainSettings, default_config, default_projection
from .soft_labels import SoftLabels
from .sources import Source, dev_of, digest_of, examples_of, skipped_lines

_RECENTRE_TEXTS = 1024
_SHAPE = (
    "bottleneck_size", "state_size", "kernel_size", "num_layers", "bidirectional", "pooling",
    "zoneout", "attention_heads", "skip",
)  # fmt: skip


@dataclass(frozen=True)
class FitResult:
    """What a finished run has.

    Attributes:
        folder: the run folder.
        path: the best model, for :func:`pqrnn_native.load`; of a rival the graph's tensors.
        config: of the model.
        settings: as they were resolved.
        dev: metrics of the best model on the dev examples.
        test: the same on the test examples, where some were given.
        parameters: weights and biases.
    """

    folder: Path
    path: Path
    config: PQRNNConfig
    settings: TrainSettings
    dev: Report
    test: Report | None
    parameters: int


def fit(
    train: Source,
    dev: Source | None = None,
    *,
    out: str | Path,
    task: Task | None = None,
    test: Source | None = None,
    languages: Sequence[str] | None = None,
    model: Literal["pqrnn", "lstm", "transformer"] = "pqrnn",
    features: Literal["projection", "word"] = "projection",
    config: PQRNNConfig | Mapping[str, Any] | None = None,
    settings: TrainSettings | None = None,
    init: str | os.PathLike[str] | None = None,
    precision: Literal["float32", "int8"] | None = None,
    soft_labels: SoftLabels | str | Path | None = None,
    augment: Sequence[Augment] = (),
    dtype: StorageType = "float32",
    device: str | None = None,
    progress: bool | None = None,
    say: Callable[[str], object] | None = None,
    pictures: bool = True,
) -> FitResult:
    """Train a model and save the best one, by its score on the dev examples.

    A run that was cut goes on where it was, to the same weights, when it is called again with the
    same arguments. Under ``torchrun`` the processes share each batch.

    Args:
        train: examples, a list of them, or one or several names ``kind:path`` of data sets.
        dev: the same; None: the named sets' own dev split where they have one, else a tenth of the
            training examples, set aside at random.
        out: run folder, made when absent, resumed when it holds a checkpoint.
        task: ``"parse"``, ``"classify"`` or ``"tag"``; None: what the data are for. Parsed data
            also serve for the other two.
        test: examples that the best model is evaluated on at the end, and only then.
        languages: of named data sets; None: all.
        model: ``"pqrnn"``, or a rival to compare it with, see :mod:`.rivals`, which only the torch
            graph can run.
        features: what a rival reads: the projection, or an embedding of each ``"word"``.
        config: what is trained; its intents, labels and slot tags must be those of the data. A
            mapping holds what is to differ from :func:`.settings.default_config`, for example
            ``{"num_layers": 2, "projection": {"feature_size": 512}}``; the names then come from the
            training examples.
        settings: how; zeros in it follow from the number of training examples.
        init: model file to start from, or the name of an embedded encoder (``"default"``,
            ``"multilingual"``). Unless ``config`` is given, the model has the same encoder, and if
            the file is for the same task and has all names of the training examples, the same
            names. Heads of the same names start from the file's as well; another classifier's head
            from logistic regression on the vectors of the encoder as it is, and little is changed
            if there are few rows.
        precision: ``"int8"`` trains with the grids of 8 bits in the loop, and saves such a model;
            None: what ``config`` says, ``"float32"`` if nothing.
        soft_labels: what a teacher says of training texts, or a file of it, see
            :mod:`.soft_labels`: the model learns to say the same, beside the gold answers.
        augment: functions of an example and a generator that return an example; each text goes
            through all of them whenever it is drawn, see :mod:`.augment`. What they return must
            follow from their arguments alone. ``settings`` add some of their own.
        dtype: storage of the saved weights, see :func:`.saving.storage_of`: ``"float32"``,
            ``"float16"``, ``"int8"``, ``"int4"`` or ``"int2"``.
        device: of torch, for example ``"cpu"``; None: a GPU if there is one.
        progress: show a bar; None shows one on a terminal.
        say: called with a line of text about the data and about each evaluation.
        pictures: draw the curves and the confusion matrix at the end, which takes matplotlib.

    Raises:
        ValueError: data that are unusable or do not fit the configuration, or a run folder of
            other settings.
        FileNotFoundError: a named data set without the split.
        FloatingPointError: the loss is not finite.
        TypeError: ``augment`` is not a list of callables, or one returned no example.
    """
    settings = settings or TrainSettings()
    _check_model(model, features, init)
    train_set = examples_of(train, "train", task, languages)
    task = train_set.task
    if dev is None:
        train_set, dev_set = dev_of(train, train_set, settings.seed, languages)
    else:
        dev_set = examples_of(dev, "dev", task, languages)
    test_set = None if test is None else examples_of(test, "test", task, languages)
    if not isinstance(config, PQRNNConfig):
        if init is not None and not config:
            config = init_config(train_set, init)
        else:
            config = data_config(train_set, config or {})
    if precision is not None:
        config = replace(config, precision=precision)
    dtype = storage_of(config, dtype)
    if isinstance(soft_labels, str | Path):
        soft_labels = SoftLabels.load(soft_labels)
    if soft_labels is not None:
        soft_labels.check(config)
    chain = augmentations(train_set.rows, settings, augment)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with joined() as processes:
        place = find_device(device)
        settings = settings.resolve(len(train_set), processes.world, task, started=bool(init))
        if settings.bfloat16 is None:
            settings = replace(settings, bfloat16=bfloat16_pays(place))
        torch.manual_seed(settings.seed)
        if model == "pqrnn":
            learner = projected(config, settings, processes, place, started=init is not None)
        else:
            texts = [row.text for row in train_set]
            learner = rival(model, features, config, settings, processes, place, texts)
        if init is not None:
            start_from(learner, config, init, train_set.rows)
        description = {
            "task": task,
            "model": model,
            "features": features,
            "config": json.loads(config.to_json()),
            "settings": asdict(settings),
            "processes": processes.world,
            "device": place.type,
            "init": None if init is None else digest([read_model(init).hex()]),
            "soft_labels": None if soft_labels is None else soft_labels.digest(),
            "augment": [describe(each) for each in augment] or None,
            "train": {"rows": len(train_set), "blake2b": digest_of(train_set)},
            "dev": {"rows": len(dev_set), "blake2b": digest_of(dev_set)},
        }
        run = make_folder(out, description, processes)
        config = with_intent_tags(config, train_set)
        saver = BestModel(run, config, dtype)
        if say is None or not processes.first:
            say = _silence
        for line in skipped_lines(train_set.skipped):
            say(line)
        for each in chain:
            if isinstance(each, Augmentation):
                reached = sum(map(each.reaches, train_set))
                say(f"{type(each).__name__} reaches {reached} of {len(train_set)} rows")
        answers = Answers(dev_set.rows, config)
        supervised.train(
            learner,
            RowSource(train_set.rows, config, settings.max_tokens, chain, soft_labels),
            run,
            lambda: figures_of(dev_set, answers(learner)),
            lambda figures: saver.save(learner, figures),
            processes=processes,
            progress=progress,
            say=say,
        )
        processes.wait()
        best = saver.load(learner)
        dev_answers = answers(learner)
        dev_report = report(dev_set, dev_answers)
        test_report = None
        if test_set is not None:
            test_report = report(test_set, Answers(test_set.rows, config)(learner))
        result = FitResult(
            run.path, saver.path(learner), config, settings, dev_report, test_report,
            count_parameters(learner.averaged.model),
        )  # fmt: skip
        if processes.first:
            write_report(run, best, result.parameters, train_set, dev_report, test_report)
            if pictures:
                run.draw_curves()
                run.draw_confusion(*sentence_names(dev_set, dev_answers))
        return result


def data_config(train: Examples, changes: Mapping[str, Any]) -> PQRNNConfig:
    """The default shape with changes, and the intents, labels and tags of the examples."""
    slots: tuple[str, ...] = ()
    if train.task != "classify":
        projection = default_projection(changes.get("projection", {}))
        spans = token_spans([row.text for row in train], projection)
        slots = collect_tags((own, row.slots) for own, row in zip(spans, train, strict=True))
    return default_config(
        train.task,
        labels=sorted({name for row in train for name in row.labels}),
        intents=sorted({row.intent for row in train if row.intent}),
        slots=slots,
        multi_label=train.multi_label,
        **changes,
    )


def with_intent_tags(config: PQRNNConfig, train: Examples) -> PQRNNConfig:
    """A parser's configuration with the tags that each intent has in the training examples.

    Nothing that is trained depends on them. What the configuration says already stays.
    """
    if config.intent_tags or not (config.intents and config.slots):
        return config
    items = [(row.intent, row.slots) for row in train]
    return replace(config, intent_tags=collect_tags_by_intent(items, config.intents, config.slots))


def init_config(train: Examples, path: str | os.PathLike[str]) -> PQRNNConfig:
    """A configuration with the encoder of a model file, for these examples.

    It is the file's own if that is for the same task and has all names of the examples.
    """
    known = read_metadata(path).config
    needed = data_config(train, encoder_shape(path))
    same = (known.task, known.multi_label) == (needed.task, needed.multi_label)
    names = ("labels", "intents", "slots")
    if not same or any(set(getattr(needed, n)) - set(getattr(known, n)) for n in names):
        return needed
    if bool(needed.intents) != bool(known.intents):  # a tagger and a parser
        return needed
    return replace(known, intent_tags=(), precision="float32")


def encoder_shape(path: str | os.PathLike[str], *, ngrams: int = 0) -> dict[str, Any]:
    """What :func:`.settings.default_config` takes, for the encoder of a model file.

    Args:
        path: the file.
        ngrams: features of character n-grams that an encoder without any is to have besides.
    """
    known = read_metadata(path).config
    projection = asdict(known.projection)
    if ngrams and _may_have_ngrams(known.projection):
        projection["feature_size"] += ngrams
        projection["ngram_size"] = ngrams
    return {**{name: getattr(known, name) for name in _SHAPE}, "projection": projection}


def _may_have_ngrams(projection: ProjectionConfig) -> bool:
    plain = not (projection.ngram_size or projection.has_extras)
    return plain and projection.hash == "murmur" and projection.feature_size % 32 == 0


def start_from(
    learner: Learner, config: PQRNNConfig, path: str | os.PathLike[str], examples: Sequence[Example]
) -> None:
    """Take the weights of a model file: its encoder, and with the same names its heads.

    A model may have features of character n-grams that the file's has not: their weights are 0.

    Args:
        learner: what is to have them.
        config: of its model.
        path: the file.
        examples: of which some give batch norm its moments, and all a classifier its new head.

    Raises:
        ValueError: the file is damaged or its encoder is of another shape.
    """
    other = read_metadata(path).config
    named = ("task", "labels", "intents", "slots", "slot_context", "crf")
    same = all(getattr(other, name) == getattr(config, name) for name in named)
    tensors = load_tensors(path)
    weight = tensors["bottleneck.weight"]
    more = config.projection.feature_size - weight.shape[1]
    if more == config.projection.ngram_size and not other.projection.ngram_size:
        tensors["bottleneck.weight"] = np.pad(weight, ((0, 0), (0, more)))
    texts = [example.text for example in examples]
    sample = texts[:: -(-len(texts) // _RECENTRE_TEXTS)]
    inputs = learner.featurizer(sample).to(learner.device)
    assert isinstance(inputs, Inputs)
    model = learner.averaged.model
    encoder = model.get_submodule("encoder")
    (model if same else encoder).load_tensors(tensors)
    encoder.recentre(inputs.features, inputs.offsets, inputs.index)
    learner.averaged.average.load_state_dict(model.state_dict())
    if not same and config.labels:
        gold = encode_rows(examples, config).sentence
        assert gold is not None
        embeds = other.task == "embedding"
        fit_head(
            learner, texts, gold,
            (tensors["head.weight"], tensors["head.bias"]) if embeds else None,
        )  # fmt: skip


def count_parameters(model: torch.nn.Module) -> int:
    """Weights and biases that are learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def figures_of(examples: Examples, answers: Sequence[Any]) -> tuple[float, dict[str, float]]:
    """What chooses the best model, and every figure for the log, in per cent."""
    result = report(examples, answers, resamples=0)
    metric = chosen_metric(examples)
    figures = {name: round(100 * score.value, 3) for name, score in result.average.items()}
    if len(result.languages) > 1:
        for language, group in result.languages.items():
            figures[f"{metric}_{language}"] = round(100 * group.scores[metric].value, 3)
    return figures[metric], figures


def _check_model(model: str, features: str, init: object) -> None:
    for name, value, known in (
        ("model", model, ("pqrnn", "lstm", "transformer")),
        ("features", features, ("projection", "word")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if model == "pqrnn" and features != "projection":
        raise ValueError(f"features must be 'projection' for model 'pqrnn', got {features!r}")
    if model != "pqrnn" and init is not None:
        raise ValueError(f"init must be None for model {model!r}, got {init!r}")


def _silence(_line: str) -> None:
    pass
