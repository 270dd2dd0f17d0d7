"""The C interface against Python's, the examples in C, what is installed, and how large it is."""

from __future__ import annotations

import ctypes
import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native import _core
from pqrnn_native.checkpoint import save_model

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [
    "turn on the lights in the kitchen",
    "",
    "What's the weather like in São Paulo tomorrow at 7:30?",
    "recuérdame été ya 🙂👍🏽 naïve 你好世界 สวัสดี",
    "   ",
    " ".join(f"word{i}" for i in range(80)),
]
TAGS = ("O", "B-a", "I-a", "B-b:c", "I-b:c", "O@-2|B-a", "B-a@1|I-b:c", "I-a@2|O", "B-b:c@1|B-a")

pytestmark = [
    pytest.mark.skipif(not (ROOT / "CMakeLists.txt").is_file(), reason="needs the C++ sources"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake"),
    pytest.mark.skipif(sys.platform != "linux", reason="links as on Linux"),
]


def run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as for small devices, and the examples."""
    folder = tmp_path_factory.mktemp("build")
    presets = json.loads((ROOT / "CMakePresets.json").read_text("utf-8"))["configurePresets"]
    (edge,) = (preset for preset in presets if preset["name"] == "edge")
    variables = [f"-D{name}={value}" for name, value in edge["cacheVariables"].items()]
    run("cmake", "-S", ROOT, "-B", folder, *variables, "-DPQRNN_EXAMPLES=ON")
    run("cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1))
    return folder


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build, "--prefix", prefix, "--component", "edge")
    return prefix


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "default.safetensors"
    pq.load("default").save(path)
    return path


class Text(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t))


class Slot(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_size_t), ("end", ctypes.c_size_t), ("label", ctypes.c_char_p))


class Result(ctypes.Structure):
    _fields_ = (
        ("intent", ctypes.c_char_p),
        ("score", ctypes.c_float),
        ("slot_count", ctypes.c_size_t),
    )


class Library:
    """The C functions, in a shared library of their own."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.pqrnn_error.restype = ctypes.c_char_p
        self.c.pqrnn_isa.restype = ctypes.c_char_p
        self.c.pqrnn_label.restype = ctypes.c_char_p
        self.c.pqrnn_dim.restype = ctypes.c_size_t
        for name in ("isa", "dim", "free", "get_task"):
            getattr(self.c, f"pqrnn_{name}").argtypes = [ctypes.c_void_p]
        self.c.pqrnn_label.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def check(self, status: int) -> None:
        assert status == 0, self.c.pqrnn_error()

    def load(self, data: bytes) -> ctypes.c_void_p:
        model = ctypes.c_void_p()
        self.check(self.c.pqrnn_load(data, ctypes.c_size_t(len(data)), ctypes.byref(model)))
        return model

    def rows(self, name: str, model: ctypes.c_void_p, texts: list[bytes]) -> np.ndarray:
        out = np.full((len(texts), self.c.pqrnn_dim(model)), 77, np.float32)
        array = (Text * len(texts))(*((text, len(text)) for text in texts))
        function = getattr(self.c, f"pqrnn_{name}")
        address = out.ctypes.data_as(ctypes.c_void_p)
        self.check(function(model, array, ctypes.c_size_t(len(texts)), 2, address))
        return out

    def parse(self, model: ctypes.c_void_p, text: bytes) -> tuple[str, float, list[Any]]:
        result, slots = Result(), (Slot * (2 * len(text) + 1))()
        size = ctypes.c_size_t(len(slots))
        self.check(
            self.c.pqrnn_parse(model, Text(text, len(text)), ctypes.byref(result), slots, size)
        )
        found = [(s.begin, s.end, s.label.decode()) for s in slots[: result.slot_count]]
        return result.intent.decode(), result.score, found


@pytest.fixture(scope="module")
def library(build: Path) -> Library:
    cxx = os.environ.get("CXX") or "c++"
    path = build / "libpqrnn_test.so"
    run(
        cxx, "-shared", "-o", path, "-Wl,--whole-archive", build / "libpqrnn.a",
        "-Wl,--no-whole-archive", "-pthread",
    )  # fmt: skip
    return Library(path)


@pytest.fixture
def _same_isa(library: Library, default: Path) -> Iterator[None]:
    """Python on the instruction set that the library found, for the same bits."""
    model = library.load(default.read_bytes())
    before = _core.isa()
    _core.set_isa(library.c.pqrnn_isa(model).decode())
    library.c.pqrnn_free(model)
    yield
    _core.set_isa(before)


def agree(library: Library, parser: pq.Parser, data: bytes, texts: list[bytes]) -> int:
    model = library.load(data)
    count = 0
    for text in texts:
        intent, score, slots = library.parse(model, text)
        expected = parser.parse(text)
        assert (intent, score) == expected[:2]
        assert slots == [slot[:3] for slot in expected.slots]
        count += len(slots)
    library.c.pqrnn_free(model)
    return count


@pytest.mark.usefixtures("_same_isa")
def test_vectors_and_probabilities_are_pythons(
    library: Library, default: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    texts = [text.encode() for text in TEXTS] + [b"bytes \xff\xfe are \xc3\xa9 fine"]
    model = library.load(default.read_bytes())
    np.testing.assert_array_equal(library.rows("encode", model, texts), pq.encode(texts))
    library.c.pqrnn_free(model)
    labels = ("good", "bad", "né")
    for multi_label in (False, True):
        config = pq.PQRNNConfig(
            task="classification", bottleneck_size=20, state_size=18, num_layers=2, labels=labels,
            multi_label=multi_label,
        )  # fmt: skip
        path, _ = twin.random_model(config, rng, tmp_path, "int8")
        classifier = pq.load(path)
        assert isinstance(classifier, pq.Classifier)
        model = library.load(path.read_bytes())
        assert tuple(library.c.pqrnn_label(model, k).decode() for k in range(3)) == labels
        np.testing.assert_array_equal(
            library.rows("classify", model, texts), classifier.predict_proba(texts)
        )
        library.c.pqrnn_free(model)


@pytest.mark.usefixtures("_same_isa")
@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("intents", [(), ("play", "stop", "ask: why?")])
def test_parses_are_pythons(
    crf: bool, intents: tuple[str, ...], library: Library, shared: Path, tmp_path: Path,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Random weights give every kind of tag, border and forbidden sequence."""
    config = pq.PQRNNConfig(
        task="parsing", projection=pq.ProjectionConfig(feature_size=64), bottleneck_size=20,
        state_size=18, num_layers=2, intents=intents, slots=TAGS, crf=crf, slot_context=True,
        intent_tags=((0, 1, 2, 5, 7), (), (0, 3, 4)) if intents else (),
    )  # fmt: skip
    path, tensors = twin.random_model(config, rng, tmp_path)
    tensors["slots.weight"] *= 8  # so that tags change from token to token
    tensors["slots.bias"][0] -= 2
    if intents:
        tensors["intent.weight"] *= 8
    save_model(path, config, tensors, dtype="float32")
    parser = pq.load(path)
    assert isinstance(parser, pq.Parser)
    texts = [text.encode() for text in TEXTS]
    for file in sorted((shared / "data" / "mtop").glob("*/test.spans.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            texts += [
                json.loads(line)["utterance"].encode() for line in itertools.islice(lines, 50)
            ]
    assert agree(library, parser, path.read_bytes(), texts) > len(texts)


@pytest.mark.usefixtures("_same_isa")
def test_ill_formed_texts_parse(library: Library, tmp_path: Path, rng: np.random.Generator) -> None:
    """Spans are Python's where no border cuts an ill-formed token."""
    plain = pq.PQRNNConfig(
        task="parsing", projection=pq.ProjectionConfig(feature_size=64), bottleneck_size=20,
        state_size=18, num_layers=1, intents=("a",), slots=TAGS[:5],
    )  # fmt: skip
    path, _ = twin.random_model(plain, rng, tmp_path)
    parser = pq.load(path)
    assert isinstance(parser, pq.Parser)
    texts = [rng.bytes(int(rng.integers(60))) for _ in range(100)]
    assert agree(library, parser, path.read_bytes(), texts) > 100


def test_the_examples_say_what_python_says(
    build: Path, default: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    similarity, understand = (
        build / "examples" / "c" / name for name in ("similarity", "understand")
    )
    pair = ("turn on the lights", "lights on, s'il vous plaît")
    vectors = pq.encode(pair)
    found = float(run(similarity, default, *pair))
    assert found == pytest.approx(float(vectors[0] @ vectors[1]), abs=2e-4)

    config = pq.PQRNNConfig(task="classification", state_size=8, num_layers=1, labels=("x", "y z"))
    path, _ = twin.random_model(config, rng, tmp_path)
    classifier = pq.load(path)
    assert isinstance(classifier, pq.Classifier)
    lines = run(understand, path, input="a b\nc d e\n").splitlines()
    for line, row in zip(lines, classifier.predict_proba(["a b", "c d e"]), strict=True):
        label, probability = line.rsplit(" ", 1)
        assert label == config.labels[row.argmax()]
        assert float(probability) == pytest.approx(row.max(), abs=2e-4)

    config = pq.PQRNNConfig(
        task="parsing", state_size=8, num_layers=1, intents=("i", "j"), slots=("O", "B-a", "I-a")
    )
    path, _ = twin.random_model(config, rng, tmp_path)
    parser = pq.load(path)
    assert isinstance(parser, pq.Parser)
    text = "Où est la gare, s'il vous plaît ?"
    expected = parser.parse(text.encode())
    words = run(understand, path, input=text + "\n").split()
    assert words[0] == expected.intent
    assert words[2:] == [w for s in expected.slots for w in (f"{s.start}-{s.end}", s.label)]

    failed = subprocess.run(
        [understand, default], input="a\n", capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert failed.stderr == "pqrnn_parse() needs a model for task 'parsing'\n"


def test_an_installed_library_is_found(installed: Path, default: Path, tmp_path: Path) -> None:
    files = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert "include/pqrnn/pqrnn.h" in files
    assert {Path(name).suffix for name in files} == {".h", ".a", ".cmake", ".pc"}
    run(
        "cmake", "-S", ROOT / "examples" / "c", "-B", tmp_path / "out",
        f"-DCMAKE_PREFIX_PATH={installed}",
    )  # fmt: skip
    run("cmake", "--build", tmp_path / "out")
    assert run(tmp_path / "out" / "similarity", default, "a", "a") == "1.0000\n"


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="needs pkg-config")
def test_pkg_config_knows_the_flags(installed: Path, default: Path, tmp_path: Path) -> None:
    (folder,) = {path.parent for path in installed.rglob("*.pc")}
    env = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
    # The prefix of cmake --install --prefix is not the one of the configuration.
    prefix = f"--define-variable=prefix={installed}"
    flags = run("pkg-config", prefix, "--cflags", "--libs", "pqrnn", env=env).split()
    source = ROOT / "examples" / "c" / "similarity.c"
    run(os.environ.get("CC") or "cc", source, "-o", tmp_path / "similarity", *flags)
    assert run(tmp_path / "similarity", default, "a", "a") == "1.0000\n"


def test_a_program_grows_by_less_than_400_kilobytes(build: Path, tmp_path: Path) -> None:
    """Stripped, the C++ library apart."""
    cxx = os.environ.get("CXX") or "c++"
    (tmp_path / "nothing.cpp").write_text("int main() { return 0; }\n")
    main = build / "examples" / "c" / "CMakeFiles" / "understand.dir" / "understand.c.o"
    similarity = main.parent.parent / "similarity.dir" / "similarity.c.o"
    options = ("-s", "-pthread", "-Wl,--gc-sections")
    sizes = {}
    for name, inputs in {
        "nothing": (tmp_path / "nothing.cpp",),
        "understand": (main, build / "libpqrnn.a"),
        "similarity": (similarity, build / "libpqrnn.a"),
    }.items():
        run(cxx, *inputs, "-o", tmp_path / name, *options)
        sizes[name] = (tmp_path / name).stat().st_size
    for name in ("understand", "similarity"):
        assert 100_000 < sizes[name] - sizes["nothing"] < 400_000


def test_the_library_prints_nothing_and_needs_no_streams(build: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    symbols = run("nm", "--demangle", build / "libpqrnn.a")
    assert "pqrnn_encode" in symbols
    for name in ("ostream", "istream", "std::cout", "std::cerr", " printf", " puts", "RecurrenceK"):
        assert name not in symbols, name
    assert "training_table" not in symbols
