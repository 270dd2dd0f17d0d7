"""Reading sentences and pairs; the teacher cache; metrics."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="pqrnn_native.train needs torch")

from pqrnn_native.train import data, metrics
from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.teachers import CallableTeacher, load_teacher


def write_gzip(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def test_a_folder_is_read_by_language_and_without_repeats(tmp_path: Path) -> None:
    write_gzip(tmp_path / "wiki.en.txt.gz", "one\n two \n\none\n")
    write_gzip(tmp_path / "voice" / "en.txt.gz", "three\ntwo\n")
    write_gzip(tmp_path / "voice" / "de.txt.gz", "vier\n")
    (tmp_path / "plain.fr.txt").write_text("cinq\n", "utf-8")
    spec = f"text:{tmp_path}"
    assert data.read_sentences([spec], ["en"]) == ["three", "two", "one"]
    assert data.read_sentences([spec], ["en"], limit=1) == ["three", "one"]
    assert sorted(data.read_sentences([spec])) == ["cinq", "one", "three", "two", "vier"]
    with pytest.raises(ValueError, match=r"no \.txt or \.txt\.gz file for languages \['xx'\]"):
        data.read_sentences([spec], ["xx"])


def test_a_wrong_data_name_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="text:PATH, got 'csv:x'"):
        data.read_sentences(["csv:x"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        data.read_sentences([f"text:{tmp_path}/absent.txt"])


def test_malformed_bytes_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab\xffc\n")
    assert data.read_sentences([f"text:{tmp_path}/a.txt"]) == ["ab\ufffdc"]


def test_pairs(tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    path.write_text('"a, b",c,2.5\nd,e,0\n', "utf-8")
    pairs = data.read_pairs(f"sts:{path}")
    assert (pairs.first, pairs.second) == (["a, b", "d"], ["c", "e"])
    np.testing.assert_array_equal(pairs.scores, [2.5, 0.0])
    path.write_text("a,b,1\nc,d\n", "utf-8")
    with pytest.raises(ValueError, match="line 2 is not"):
        data.read_pairs(f"sts:{path}")


def test_spearman_by_hand() -> None:
    np.testing.assert_array_equal(
        metrics.average_ranks(np.array([3.0, 1.0, 3.0, 0.0])), [3.5, 2.0, 3.5, 1.0]
    )
    # Without ties: 1 - 6 * sum(d^2) / (n (n^2 - 1)) with d = (0, 0, -2, 1, 1).
    first, second = np.array([1.0, 2, 3, 4, 5]), np.array([10.0, 20, 50, 30, 40])
    assert metrics.spearman(first, second) == pytest.approx(1 - 6 * 6 / (5 * 24))
    assert metrics.spearman(first, -first) == pytest.approx(-1.0)
    assert np.isnan(metrics.spearman(first, np.ones(5)))
    with pytest.raises(ValueError, match=r"\(5,\), \(4,\)"):
        metrics.spearman(first, second[:4])


def test_cosine_of_rows() -> None:
    a = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], np.float32)
    b = np.array([[6.0, 8.0], [0.0, 2.0], [1.0, 1.0]], np.float32)
    np.testing.assert_allclose(metrics.cosine_rows(a, b), [1.0, 0.0, 0.0], atol=1e-12)


class Counting:
    """A teacher that records what it was asked for."""

    name, dim = "counting", 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(t), t.count("a")] for t in texts], np.float32)


def test_the_cache_asks_for_each_text_once(tmp_path: Path) -> None:
    teacher = Counting()
    cache = TeacherCache(tmp_path, teacher)
    cache.add(["aa", "b", "aa"], chunk=1)
    cache.add(["b", "cab"])
    assert teacher.asked == ["aa", "b", "cab"]
    again = TeacherCache(tmp_path, teacher)
    rows = again.rows(["cab", "aa", "\ud800"][:2])
    np.testing.assert_array_equal(again.vectors[rows], [[3, 1], [2, 2]])
    with pytest.raises(KeyError, match="'zzz'"):
        again.rows(["zzz"])


@pytest.mark.parametrize("surplus", ["vectors", "keys"])
def test_the_cache_survives_a_cut_write(tmp_path: Path, surplus: str) -> None:
    teacher = Counting()
    cache = TeacherCache(tmp_path, teacher)
    cache.add(["aa", "b"])
    name = "vectors.f16" if surplus == "vectors" else "keys.bin"
    with open(cache.folder / name, "ab") as file:
        file.write(b"\x01\x02\x03")
    again = TeacherCache(tmp_path, teacher)
    again.add(["ccc"])
    np.testing.assert_array_equal(
        again.vectors[again.rows(["aa", "b", "ccc"])], [[2, 2], [1, 0], [3, 0]]
    )
    assert teacher.asked == ["aa", "b", "ccc"]


def test_reading_a_cache_leaves_what_another_is_writing(tmp_path: Path) -> None:
    writer = TeacherCache(tmp_path, Counting())
    writer.add(["aa", "b"])
    path = writer.folder / "vectors.f16"
    with open(path, "ab") as file:
        file.write(np.array([3, 0], np.float16).tobytes())  # its key is not there yet
    size = path.stat().st_size
    reader = TeacherCache(tmp_path, Counting())
    assert len(reader) == 2
    np.testing.assert_array_equal(reader.vectors[reader.rows(["b"])], [[1, 0]])
    reader.add(["b"])
    assert path.stat().st_size == size == 3 * 2 * 2


def test_a_cache_goes_on_behind_rows_of_another(tmp_path: Path) -> None:
    first, second = TeacherCache(tmp_path, Counting()), TeacherCache(tmp_path, Counting())
    first.add(["aa"])
    second.add(["b", "aa"])
    first.add(["ccc"])
    assert first.teacher.asked == ["aa", "ccc"]  # type: ignore[attr-defined]
    assert second.teacher.asked == ["b"]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        first.vectors[first.rows(["aa", "b", "ccc"])], [[2, 2], [1, 0], [3, 0]]
    )


def test_a_cache_of_another_teacher_is_refused(tmp_path: Path) -> None:
    TeacherCache(tmp_path, Counting())
    other = CallableTeacher(lambda texts: np.zeros((len(texts), 3)), name="counting", dim=3)
    with pytest.raises(ValueError, match="holds"):
        TeacherCache(tmp_path, other)


def test_teachers_are_checked() -> None:
    wrong = CallableTeacher(lambda texts: np.zeros((1, 3)), name="x", dim=3)
    with pytest.raises(ValueError, match=r"returned shape \(1, 3\), expected \(2, 3\)"):
        wrong(["a", "b"])
    with pytest.raises(ValueError, match="or 'vectors:FOLDER', got 'bert'"):
        load_teacher("bert")


@pytest.mark.parametrize(
    ("spec", "needs"),
    [
        ("vectors:/nowhere", "numpy"),
        ("onnx:/nowhere.onnx", "onnxruntime_extensions"),
        ("hf:/nowhere", "transformers"),
    ],
)
def test_a_teacher_that_is_not_there(spec: str, needs: str) -> None:
    pytest.importorskip(needs)
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        load_teacher(spec)


def test_stored_vectors_are_a_teacher(tmp_path: Path) -> None:
    first = TeacherCache(tmp_path, Counting())
    first.add(["aa", "b"])
    teacher = load_teacher(f"vectors:{first.folder}")
    again = TeacherCache(tmp_path / "elsewhere", teacher)
    again.add(["b"])
    np.testing.assert_array_equal(again.vectors[again.rows(["b", "aa"])], [[1, 0], [2, 2]])
    with pytest.raises(ValueError, match="no vectors of 2 texts, the first is 'c'"):
        again.add(["c", "b", "d"])


def test_a_teacher_in_an_onnx_file(tmp_path: Path) -> None:
    """A graph that knows three words: its vectors are looked up and made 1 long."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxruntime_extensions")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node(
            "LabelEncoder", ["texts"], ["rows"], domain="ai.onnx.ml",
            keys_strings=["a", "b", "longer"], values_int64s=[0, 1, 2],
        ),
        helper.make_node("Gather", ["table", "rows"], ["vectors"]),
    ]  # fmt: skip
    table = np.array([[3, 4], [0, 2], [-5, 0]], np.float32)
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("texts", kinds.STRING, ["n"])],
        [helper.make_tensor_value_info("vectors", kinds.FLOAT, ["n", 2])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, tmp_path / "words.onnx")
    teacher = load_teacher(f"onnx:{tmp_path / 'words.onnx'}")
    assert (teacher.name, teacher.dim) == ("words", 2)
    np.testing.assert_allclose(teacher(["longer", "a", "b"]), [[-1, 0], [0.6, 0.8], [0, 1]])


def test_translations(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("a cat\teine Katze\t un chat \nalone\n\ttwo\tzwei\n", encoding="utf-8")
    assert data.read_translations(f"tsv:{path}") == [
        ["a cat", "eine Katze", "un chat"],
        ["two", "zwei"],
    ]
    with pytest.raises(ValueError, match="tsv:PATH, got"):
        data.read_translations(f"text:{path}")
