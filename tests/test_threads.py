"""Threads: shared models, forks, interrupts, and nothing started without need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native import _core

CONFIG = pq.PQRNNConfig(
    projection=pq.ProjectionConfig(feature_size=128),
    bottleneck_size=64,
    state_size=64,
    num_layers=2,
    output_size=32,
)
TEXTS = [" ".join(f"w{(i * j) % 97}" for j in range(i % 40)) for i in range(400)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("threads")
    return twin.random_model(CONFIG, np.random.default_rng(3), folder)[0]


@pytest.fixture(scope="module")
def model(path: Path) -> pq.Encoder:
    encoder = pq.load(path)
    assert isinstance(encoder, pq.Encoder)
    return encoder


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
def test_any_number_of_threads_gives_the_same_bits(model: pq.Encoder, threads: int) -> None:
    expected = np.stack([model.encode(text, threads=1) for text in TEXTS])
    np.testing.assert_array_equal(model.encode(TEXTS, threads=threads), expected)
    np.testing.assert_array_equal(model.encode(TEXTS, threads=threads, batch_size=3), expected)


def test_one_model_serves_many_threads_at_once(model: pq.Encoder) -> None:
    expected = model.encode(TEXTS, threads=1)
    start = threading.Barrier(8)

    def work(index: int) -> np.ndarray:
        start.wait()
        part = slice(index * 50, index * 50 + 50)
        for _ in range(5):
            one = model.encode(TEXTS[part], threads=1 + index % 4)
            np.testing.assert_array_equal(one, expected[part])
            model.encode_tokens(TEXTS[index])
        return one

    with ThreadPoolExecutor(8) as pool:
        found = np.concatenate(list(pool.map(work, range(8))))
    np.testing.assert_array_equal(found, expected)


def test_the_other_threads_run_meanwhile(model: pq.Encoder) -> None:
    """The engine holds no GIL: Python code goes on while it works."""
    ticks = 0
    finished = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not finished.wait(0.001):
            ticks += 1

    counter = threading.Thread(target=count)
    counter.start()
    end = time.monotonic() + 0.5
    calls = 0
    while time.monotonic() < end:
        model.encode(TEXTS, threads=1)
        calls += 1
    finished.set()
    counter.join()
    assert ticks > calls


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_gets_its_own_threads(model: pq.Encoder) -> None:
    expected = model.encode(TEXTS, threads=4)  # the pool exists before the fork
    for _ in range(5):
        child = os.fork()
        if child == 0:
            same = False
            try:
                same = np.array_equal(model.encode(TEXTS, threads=4), expected)
            finally:
                os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(model.encode(TEXTS, threads=4), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_others_work_does_no_harm(model: pq.Encoder) -> None:
    expected = model.encode(TEXTS, threads=1)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            model.encode(TEXTS[:50], threads=3)

    workers = [threading.Thread(target=busy) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                same = False
                try:
                    signal.alarm(60)
                    fresh = pq.Encoder(model._data)
                    same = np.array_equal(fresh.encode(TEXTS, threads=3), expected)
                finally:
                    os._exit(0 if same else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_models_travel_to_other_processes(model: pq.Encoder, method: str) -> None:
    if method == "forkserver" and not hasattr(os, "fork"):
        pytest.skip("needs fork()")
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        found = np.concatenate(list(pool.map(model.encode, [TEXTS[:10], TEXTS[10:20]])))
    np.testing.assert_array_equal(found, model.encode(TEXTS[:20]))


INTERRUPTED = """
import os, signal, sys, threading, time
import pqrnn_native as pq
# A job in the background of a shell starts with SIGINT ignored, and Python then leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)
model = pq.load(sys.argv[1])
texts = ["some words to work on " * 400] * 100_000
if sys.argv[2] == "long":
    texts = "some words to work on " * 20_000
thread = threading.Thread(target=lambda: (time.sleep(1), os.kill(os.getpid(), signal.SIGINT)))
thread.start()
try:
    model.encode(texts, threads=int(sys.argv[3]))
except KeyboardInterrupt:
    print("stopped")
thread.join()
print(model.encode(["a", "b"], threads=2).shape)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("kind", "threads"), [("many", "1"), ("many", "3"), ("long", "1")])
def test_control_c_stops_the_work(path: Path, kind: str, threads: str) -> None:
    # One long text is over too soon, except with the slowest kernels.
    isa = "reference" if kind == "long" else pq.available_isas()[0]
    done = python(INTERRUPTED, str(path), kind, threads, PQRNN_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["stopped", "(2, 32)"]


THREADS_STARTED = """
import os, sys
def count():
    return len(os.listdir("/proc/self/task"))
import numpy
before = count(), dict(os.environ)
import pqrnn_native as pq
model = pq.load(sys.argv[1])
model.encode("one text")
model.encode(["several words"] * 500, threads=1)
assert (count(), dict(os.environ)) == before
assert "torch" not in sys.modules
model.encode(["several words"] * 500, threads=3)
print(count() - before[0])
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_no_thread_starts_without_need(path: Path) -> None:
    done = python(THREADS_STARTED, str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2"]


def test_the_environment_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PQRNN_NUM_THREADS", "5")
    assert _core.default_threads() == 5
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for nonsense in ("0", "-2", "many", "", "3x"):
        monkeypatch.setenv("PQRNN_NUM_THREADS", nonsense)
        assert _core.default_threads() == available
    monkeypatch.delenv("PQRNN_NUM_THREADS")
    assert _core.default_threads() == available


def test_an_unknown_isa_in_the_environment_warns_once(path: Path) -> None:
    code = "import pqrnn_native as pq; print(pq._core.isa())"
    done = python(code, PQRNN_ISA="sse9", PYTHONWARNINGS="default")
    assert done.returncode == 1  # -W error: the warning became an exception
    assert (
        "RuntimeWarning: PQRNN_ISA='sse9' is not available here, using the best one" in done.stderr
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PQRNN_ISA": "sse9"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == pq.available_isas()[0]
    assert done.stderr.count("RuntimeWarning") == 1
    for name in pq.available_isas():
        done = python(code, PQRNN_ISA=name)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, name, "")
