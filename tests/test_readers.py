"""Readers of labelled data sets: each layout from small invented files, then the real ones."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

import pqrnn_native as pq
from pqrnn_native.tags import collect_tags
from pqrnn_native.train import metrics
from pqrnn_native.train.readers import KINDS, Example, Skipped, read_examples, splits


def write(path: Path, *lines: str) -> Path:
    """Lines into a file, gzip if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def reasons(skipped: list[Skipped]) -> dict[int, str]:
    return {row.line: row.reason for row in skipped}


# --- MTOP


def mtop_row(
    text: str, intent: str, slots: str, locale: str = "en_XX", tokens: str = '{"tokens": []}',
    number: str = "",
) -> str:  # fmt: skip
    return "\t".join([number, intent, slots, text, "calling", locale, f"[{intent} ]", tokens])


def test_mtop_official(tmp_path: Path) -> None:
    write(
        tmp_path / "en" / "train.txt",
        mtop_row('call "mum" at 7', "IN:CALL", "5:10:SL:WHO,11:15:SL:TIME", number="12"),
        mtop_row("hang up", "IN:STOP", ""),
    )
    write(tmp_path / "de" / "train.txt.gz", mtop_row("ruf an", "IN:CALL", ""))
    write(tmp_path / "de" / "eval.txt", mtop_row("leg auf", "IN:STOP", ""))
    write(tmp_path / "README.txt", "not a language")
    spec = f"mtop:{tmp_path}"
    examples = read_examples(spec, "train")
    assert examples.task == "parse"
    assert not examples.multi_label
    assert (len(examples), examples.skipped, examples.unparsed) == (3, [], {})
    assert list(examples) == [
        Example("ruf an", "de", "IN:CALL"),
        Example(
            'call "mum" at 7', "en", "IN:CALL", ((5, 10, "SL:WHO"), (11, 15, "SL:TIME")), id="12"
        ),
        Example("hang up", "en", "IN:STOP"),
    ]
    assert [e.language for e in read_examples(spec, "train", ["en", "de"])] == ["en", "en", "de"]
    assert [e.text for e in read_examples(spec, "dev")] == ["leg auf"]
    assert splits(spec) == ("train", "dev")


def test_mtop_rows_that_are_wrong(tmp_path: Path) -> None:
    path = write(
        tmp_path / "en" / "test.txt",
        mtop_row("hang up", "IN:STOP", ""),
        "hang up\tIN:STOP",
        "",
        mtop_row("hang up", "IN:STOP", "0:8:SL:X"),
        mtop_row("hang up", "IN:STOP", "0:x:SL:X"),
        mtop_row("hang up", "IN:STOP", "0:4"),
        mtop_row("hang up", "IN:STOP", "0:4:SL:X,2:7:SL:Y"),
        mtop_row("hang up", "", ""),
        mtop_row(" ", "IN:STOP", ""),
        mtop_row("hang up", "IN:STOP", "5:6:SL:X,4:4:SL:Y"),
        mtop_row("hang up", "IN:STOP", "6:7:SL:Y,5:6:SL:X"),
    )
    examples = read_examples(f"mtop:{tmp_path}", "test")
    assert [e.slots for e in examples] == [(), ((5, 6, "SL:X"), (6, 7, "SL:Y"))]
    assert reasons(examples.skipped) == {
        2: "2 columns instead of 8",
        4: "slot (0, 8, 'SL:X') is not within the 7 characters of the text",
        5: "a slot must be 'start:end:label', got '0:x:SL:X'",
        6: "slot (0, 4, '') has no label",
        7: "slots overlap: (0, 4, 'SL:X') and (2, 7, 'SL:Y')",
        8: "no intent",
        9: "no text",
        10: "slot (4, 4, 'SL:Y') is not within the 7 characters of the text",
    }
    assert examples.unparsed == {"en": 1}
    assert str(examples.skipped[0]) == f"{path}, line 2: 2 columns instead of 8"


def test_mtop_with_recovered_offsets(tmp_path: Path) -> None:
    row = {"utterance": "ruf Mama an", "intent": "IN:CALL", "slots": [[4, 9, "SL:WHO"]]}
    write(
        tmp_path / "de" / "train.spans.jsonl.gz",
        json.dumps(row, ensure_ascii=False),
        json.dumps(row | {"slots": None}),
        json.dumps(row | {"slots": [[4, 9]]}),
        json.dumps(row | {"slots": 3}),
        json.dumps({"utterance": "a"}),
        "[1]",
        "{",
        json.dumps(row | {"slots": [[4.0, 9, "X"]]}),
    )
    # It comes before the copy of five columns beside it.
    write(tmp_path / "de" / "train.tsv.gz", "a\tb\tc\td\te")
    examples = read_examples(f"mtop:{tmp_path}", "train", ["de"])
    # The white space after "Mama" is no part of the slot.
    assert list(examples) == [Example("ruf Mama an", "de", "IN:CALL", ((4, 8, "SL:WHO"),))]
    assert examples.unparsed == {"de": 1}
    assert reasons(examples.skipped) == {
        2: "slots overlap",
        3: "a slot must be start, end and label, got [4, 9]",
        4: "slots must be a list, got 3",
        5: "intent must be a str, got None",
        6: "not a JSON object: '[1]'",
        7: "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        8: "slot [4.0, 9, 'X'] is not within the 11 characters of the text",
    }


# --- Wrong places


def test_a_wrong_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    file = write(tmp_path / "file", "x")
    for kind in KINDS:
        single = kind in ("iob", "csv", "jsonl")
        cases: Mapping[Path, str] = {
            tmp_path / "absent": "is not there",
            tmp_path / "empty": "is a folder" if single else "holds none",
        }
        for path, state in {**cases, **({} if single else {file: "is a file"})}.items():
            message = f"{kind} needs a .*, but {re.escape(repr(str(path)))} {state}$"
            with pytest.raises(ValueError, match=message) as caught:
                read_examples(f"{kind}:{path}", "train")
            assert "\n" not in str(caught.value)
            with pytest.raises(ValueError, match=message):
                splits(f"{kind}:{path}")


def test_a_wrong_name_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "en" / "train.txt", mtop_row("hang up", "IN:STOP", ""))
    write(tmp_path / "de" / "eval.txt", mtop_row("leg auf", "IN:STOP", ""))
    spec = f"mtop:{tmp_path}"
    for wrong in ("mtopp:x", "mtop", "mtop:", ":x"):
        with pytest.raises(ValueError, match=f"mtop:PATH, .* got {wrong!r}"):
            read_examples(wrong, "train")
    with pytest.raises(ValueError, match=r"split must be 'train', 'dev' or 'test', got 'eval'"):
        read_examples(spec, "eval")
    with pytest.raises(ValueError, match=r"has no language fr, xx \(it has: de, en\)"):
        read_examples(spec, "train", ["fr", "en", "xx"])
    with pytest.raises(ValueError, match="at least one language"):
        read_examples(spec, "train", [])
    with pytest.raises(TypeError, match="the str 'en'"):
        read_examples(spec, "train", "en")
    with pytest.raises(FileNotFoundError, match=r"no split 'test' \(it has: train, dev\)"):
        read_examples(spec, "test")
    with pytest.raises(FileNotFoundError, match="no split 'dev' for en"):
        read_examples(spec, "dev", ["de", "en"])


def test_a_file_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "en" / "train.tsv", "a\tb\tc\td\te", "a")
    with pytest.raises(ValueError, match=f"first of 2 bad ones: {re.escape(str(path))}, line 1: 5"):
        read_examples(f"mtop:{tmp_path}", "train")
    path.write_text("", "utf-8")
    with pytest.raises(ValueError, match="no usable row of split 'train'$"):
        read_examples(f"mtop:{tmp_path}", "train")


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "en" / "train.txt.gz", mtop_row("hang up", "IN:STOP", ""))
    whole = path.read_bytes()
    for broken in (b"plain", whole[:-9], whole[:15] + b"\xff\xff" + whole[17:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} is damaged"):
            read_examples(f"mtop:{tmp_path}", "train")


def test_line_ends_and_marks_of_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufefftext,label\r\nhällo,a\r\n".encode())
    assert list(read_examples(f"csv:{path}", "train")) == [Example("hällo", labels=("a",))]


# --- Tokens and tags


FLIGHTS = "flights to new york"
FLIGHT_SLOTS = ((11, 19, "city"),)


def test_multiatis(tmp_path: Path) -> None:
    head = "id\tutterance\tslot_labels\tintent"
    write(
        tmp_path / "train_EN.tsv",
        head,
        f"1\t{FLIGHTS}\tO O B-city I-city\tflight",
        f"2\t{FLIGHTS}\tO O B-city\tflight",
        f"3\t{FLIGHTS}\tO O B-city I-city\tflight#fare",
        "4\tflights\tX\tflight",
        "5\tflights\tO",
        "6\t \t \tflight",
    )
    # Tokens are split at U+0020 alone: this one has a no-break space inside.
    write(tmp_path / "train_FR.tsv.gz", head, "1\tvols à\u00a0paris\tO B-city\tflight")
    write(tmp_path / "dev_FR.tsv", head, "1\tvols\tO\tflight")
    write(tmp_path / "train_notes.txt", "x")
    spec = f"multiatis:{tmp_path}"
    examples = read_examples(spec, "train")
    assert list(examples) == [
        Example(FLIGHTS, "en", "flight", FLIGHT_SLOTS, id="1"),
        Example(FLIGHTS, "en", "flight#fare", FLIGHT_SLOTS, id="3"),
        Example("vols à\u00a0paris", "fr", "flight", ((5, 12, "city"),), id="1"),
    ]
    assert reasons(examples.skipped) == {
        3: "4 tokens but 3 tags",
        5: "a tag is 'O', 'B-X', 'I-X' or 'LEFT@n|RIGHT', got 'X'",
        6: "3 columns instead of 4",
        7: "no text",
    }
    assert splits(spec) == ("train", "dev")


def test_atis_rows(tmp_path: Path) -> None:
    write(
        tmp_path / "train.tsv",
        f"{FLIGHTS}\tO O B-city I-city\tflight#fare",
        f"{FLIGHTS}\tO O B-city\tflight",
        "fares\tO\tfare",
        f"{FLIGHTS}\tO O B-city I-city\t",
        "fares",
    )
    write(
        tmp_path / "atis-2.dev.w-intent.iob",
        f"BOS {FLIGHTS} EOS\tO O O B-city I-city flight",
        f"{FLIGHTS}\tO O B-city I-city",
    )
    examples = read_examples(f"atis:{tmp_path}", "train")
    assert list(examples) == [
        Example(FLIGHTS, "en", "flight#fare", FLIGHT_SLOTS),
        Example("fares", "en", "fare"),
    ]
    assert reasons(examples.skipped) == {
        2: "4 tokens but 3 tags",
        4: "no intent",
        5: "1 columns instead of 3",
    }
    examples = read_examples(f"atis:{tmp_path}", "dev", ["en"])
    assert list(examples) == [Example(FLIGHTS, "en", "flight", FLIGHT_SLOTS)]
    assert list(reasons(examples.skipped)) == [2]


@pytest.mark.parametrize(("kind", "folder"), [("atis", "dev"), ("snips", "valid")])
def test_parallel_files(tmp_path: Path, kind: str, folder: str) -> None:
    write(tmp_path / folder / "seq.in", FLIGHTS, "fares", "", "one two", "left over")
    write(tmp_path / folder / "seq.out.gz", "O O B-city I-city", "O", "", "O", "O O")
    write(tmp_path / folder / "label", "flight", "fare", "", "fare")
    examples = read_examples(f"{kind}:{tmp_path}", "dev")
    assert list(examples) == [
        Example(FLIGHTS, "en", "flight", FLIGHT_SLOTS),
        Example("fares", "en", "fare"),
    ]
    assert examples.skipped[0].path.endswith("seq.in")
    assert reasons(examples.skipped) == {
        4: "2 tokens but 1 tags",
        5: "label has no such line",
    }


@pytest.mark.parametrize(
    "lines",
    [
        ["# intent: flight", "flights O", "to O", "new B-city", "york I-city"],
        ["flights\tO\tflight", "to\tO\tflight", "new\tB-city\tflight", "york\tI-city\tflight"],
        ["BOS O", "flights O", "to O", "new B-city", "york I-city", "EOS flight"],
    ],
    ids=["comment", "column", "end"],
)
def test_atis_columns(tmp_path: Path, lines: list[str]) -> None:
    write(tmp_path / "train.iob", "lonely O", "", *lines, "", "", *lines)
    examples = read_examples(f"atis:{tmp_path}", "train")
    assert list(examples) == [Example(FLIGHTS, "en", "flight", FLIGHT_SLOTS)] * 2
    assert reasons(examples.skipped) == {1: "no intent"}


def test_snips_rows(tmp_path: Path) -> None:
    write(tmp_path / "valid.tsv.gz", "play jazz\tO B-genre\tPlayMusic")
    examples = read_examples(f"snips:{tmp_path}", "dev")
    assert list(examples) == [Example("play jazz", "en", "PlayMusic", ((5, 9, "genre"),))]


def test_iob(tmp_path: Path) -> None:
    path = write(
        tmp_path / "names.conll",
        "-DOCSTART- -X- O O",
        "",
        "# id = 1",
        "EU NNP B-NP B-ORG",
        "rejects VBZ B-VP O",
        "# NN I-NP I-MISC",
        "",
        "Peter B-PER",
        "lost",
        "",
        "Blackburn\tI-PER",
        "here\tE-PER",
        "",
        "New York\tB-LOC",
        "too\tO",
    )
    for split in ("train", "dev", "test"):
        examples = read_examples(f"iob:{path}", split)
        assert examples.task == "tag"
        assert list(examples) == [
            Example(
                "EU rejects #",
                slots=((0, 2, "ORG"), (11, 12, "MISC")),
                tokens=((0, 2), (3, 10), (11, 12)),
            ),
            Example("New York too", slots=((0, 8, "LOC"),), tokens=((0, 8), (9, 12))),
        ]
        assert reasons(examples.skipped) == {
            9: "not a token and a tag: 'lost'",
            12: "a tag must be O, B-X or I-X, got 'E-PER'",
        }
    assert splits(f"iob:{path}") == ("train",)


# --- MASSIVE and MTOD


def test_massive_official(tmp_path: Path) -> None:
    def row(partition: str, text: str, annotated: str) -> str:
        return json.dumps(
            {"locale": "en-US", "partition": partition, "intent": "alarm_set"}
            | {"utt": text, "annot_utt": annotated}
        )

    write(
        tmp_path / "data" / "en-US.jsonl",
        row("train", "wake me at five am today", "wake me at [time : five am] [date : today]"),
        row("dev", "now", "[date : now]"),
        row("train", "wake me", "wake [time : you]"),
        row("train", "wake me [now", "wake me [now"),
        "{}",
    )
    for locale in ("zh-CN", "zh-TW"):
        given = json.loads(row("train", "今天七点", "[date : 今天]七点"))
        write(tmp_path / "data" / f"{locale}.jsonl", json.dumps({"id": "40", **given}))
    spec = f"massive:{tmp_path}"
    examples = read_examples(spec, "train", ["en"])
    assert list(examples) == [
        Example(
            "wake me at five am today", "en", "alarm_set", ((11, 18, "time"), (19, 24, "date"))
        ),
        Example("wake me [now", "en", "alarm_set"),
    ]
    assert reasons(examples.skipped) == {
        3: "annot_utt 'wake [time : you]' does not spell utt 'wake me'",
        5: "partition must be a str, got None",
    }
    assert [e.text for e in read_examples(spec, "dev", ["en"])] == ["now"]
    assert list(read_examples(spec, "train", ["zh-TW"])) == [
        Example("今天七点", "zh-TW", "alarm_set", ((0, 2, "date"),), id="40")
    ]
    with pytest.raises(ValueError, match="no usable row of split 'test'"):
        read_examples(spec, "test", ["zh-TW"])


def test_massive_columns(tmp_path: Path) -> None:
    write(
        tmp_path / "en" / "dev.tsv.gz",
        "change it now\tset\tplay\ten-US\tO O B-date\t10:13:date\t[IN:set ]",
        "stop\tset\tplay\ten-US\tO\t\t[IN:set ]",
        "stop\tset\tplay\ten-US\tO\t0:9:date\t[IN:set ]",
    )
    examples = read_examples(f"massive:{tmp_path}", "dev")
    assert list(examples) == [
        Example("change it now", "en", "set", ((10, 13, "date"),), id="1"),
        Example("stop", "en", "set", id="2"),
    ]
    assert list(reasons(examples.skipped)) == [3]


@pytest.mark.parametrize("name", ["train.tsv.gz", "train-th_TH.tsv"])
def test_mtod(tmp_path: Path, name: str) -> None:
    write(
        tmp_path / "th" / name,
        "alarm/set\t0:2:day,3:5:alarm/what\tab cd \tth_TH\t{}",
        "alarm/set\t\tab\tth_TH\t{}",
        "alarm/set\t0-2-day\tab\tth_TH\t{}",
        "alarm/set\t1:2:day\ta b\tth_TH\t{}",
    )
    examples = read_examples(f"mtod:{tmp_path}", "train")
    assert list(examples) == [
        Example("ab cd ", "th", "alarm/set", ((0, 2, "day"), (3, 5, "alarm/what"))),
        Example("ab", "th", "alarm/set"),
    ]
    assert reasons(examples.skipped) == {
        3: "a slot must be 'start:end:label', got '0-2-day'",
        4: "slot (1, 2, 'day') holds white space only",
    }


# --- Labels


def test_csv(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "id,label,text",
        '1,good,"it is, well, fine"',
        "1,good," + "long" * 40000,
        '2,bad,"two',
        'lines"',
        "3,bad",
        '4,,"no label"',
        "",
        "5,good, ",
    )
    examples = read_examples(f"csv:{path}", "test")
    assert (examples.task, examples.multi_label) == ("classify", False)
    assert list(examples) == [
        Example("it is, well, fine", labels=("good",)),
        Example("two\nlines", labels=("bad",)),
    ]
    assert reasons(examples.skipped) == {
        3: "field larger than field limit (131072)",
        6: "2 columns instead of 3",
        7: "no label",
        9: "no text",
    }
    with pytest.raises(ValueError, match="needs a header with 'label', got .*'labl'"):
        read_examples(f"csv:{write(path, 'text,labl', 'a,b')}", "train")
    with pytest.raises(ValueError, match=r"header with 'text', got \[\]"):
        read_examples(f"csv:{write(path)}", "train")


def test_csv_of_several_labels_and_languages(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tsv.gz",
        "language\ttext\tlabels",
        "en\ta, b\tx, y",
        "de\tc\t",
        "en\td\tx,,y",
    )
    examples = read_examples(f"csv:{path}", "train")
    assert examples.multi_label
    assert list(examples) == [Example("a, b", "en", labels=("x", "y")), Example("c", "de")]
    assert reasons(examples.skipped) == {4: "no label"}
    assert len(read_examples(f"csv:{path}", "train", ["de"])) == 1
    with pytest.raises(ValueError, match=r"no language fr \(it has: de, en\)"):
        read_examples(f"csv:{path}", "train", ["fr"])


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(
        path,
        "broken",
        '{"text": "call mum", "intent": "CALL", "slots": [[5, 8, "WHO"]], "language": "en"}',
        '{"text": "stop", "intent": "STOP"}',
        '{"text": "stop", "label": "STOP"}',
        '{"text": "ab", "intent": "X", "slots": [[0, 2, "Y"], [1, 2, "Z"]], "language": "de"}',
    )
    examples = read_examples(f"jsonl:{path}", "train")
    assert examples.task == "parse"
    assert list(examples) == [
        Example("call mum", "en", "CALL", ((5, 8, "WHO"),)),
        Example("stop", "", "STOP"),
    ]
    assert list(reasons(examples.skipped)) == [1, 4, 5]
    assert examples.unparsed == {"de": 1}
    assert read_examples(f"jsonl:{path}", "train", ["en"]).unparsed == {}

    write(path, '{"text": "a", "label": "x"}', '{"text": "b", "label": 3}', '{"label": "x"}')
    examples = read_examples(f"jsonl:{path}", "train")
    assert (examples.task, examples.multi_label) == ("classify", False)
    assert list(examples) == [Example("a", labels=("x",))]
    assert reasons(examples.skipped) == {
        2: "label must be a str, got 3",
        3: "text must be a str, got None",
    }

    write(path, *(f'{{"text": "a", "label": "x", "id": {id}}}' for id in ('"q1"', 7, "null", [1])))
    assert [e.id for e in read_examples(f"jsonl:{path}", "train")] == ["q1", "7", "", ""]
    write(path, '{"text": "a", "intent": "x", "id": 7}')
    assert list(read_examples(f"jsonl:{path}", "train")) == [Example("a", intent="x", id="7")]

    write(path, '{"text": "a", "labels": ["x", "y"]}', '{"text": "b", "labels": [1]}')
    examples = read_examples(f"jsonl:{path}", "train")
    assert examples.multi_label
    assert list(examples) == [Example("a", labels=("x", "y"))]
    assert reasons(examples.skipped) == {2: "labels must be strings, got [1]"}
    with pytest.raises(ValueError, match="no row with 'text' and one of"):
        read_examples(f"jsonl:{write(path, '{}', 'x')}", "train")


def test_jsonl_of_slots_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(
        path,
        '{"text": "call mum", "slots": [[4, 8, "WHO"]], "language": "en"}',
        '{"text": "stop", "slots": []}',
        '{"text": " ", "slots": []}',
        '{"text": "stop"}',
    )
    examples = read_examples(f"jsonl:{path}", "train")
    assert examples.task == "tag"
    assert list(examples) == [Example("call mum", "en", slots=((5, 8, "WHO"),)), Example("stop")]
    assert reasons(examples.skipped) == {3: "no text", 4: "slots must be a list, got None"}


def test_clinc150(tmp_path: Path) -> None:
    parts = {
        "train": [["how are you", "greeting"], ["broken"]],
        "oos_train": [["why is the sky", "oos"]],
        "val": [["hi", "greeting"]],
    }
    write(tmp_path / "data_full.json", json.dumps(parts))
    spec = f"clinc150:{tmp_path}"
    examples = read_examples(spec, "train")
    assert list(examples) == [
        Example("how are you", "en", labels=("greeting",)),
        Example("why is the sky", "en", labels=("oos",)),
    ]
    assert reasons(examples.skipped) == {2: "not a text and an intent: ['broken']"}
    assert splits(spec) == ("train", "dev")
    for broken, message in (("{", "is not JSON"), ("[]", "is not a JSON object")):
        write(tmp_path / "data_full.json", broken)
        with pytest.raises(ValueError, match=message):
            read_examples(spec, "train")


def test_banking77(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", "text,category", '"where, then?",card_arrival', "where")
    examples = read_examples(f"banking77:{tmp_path}", "test")
    assert list(examples) == [Example("where, then?", "en", labels=("card_arrival",))]
    assert reasons(examples.skipped) == {3: "1 columns instead of 2"}


def test_goemotions(tmp_path: Path) -> None:
    write(tmp_path / "emotions.txt", "joy", "anger")
    write(tmp_path / "train.tsv", "hooray\t0\ta", "well\t1,0\tb", "hm\t2\tc", "hm\t\td", "hm")
    examples = read_examples(f"goemotions:{tmp_path}", "train")
    assert examples.multi_label
    assert list(examples) == [
        Example("hooray", "en", labels=("joy",)),
        Example("well", "en", labels=("anger", "joy")),
    ]
    assert reasons(examples.skipped) == {
        3: "labels must be numbers below 2, got '2'",
        4: "labels must be numbers below 2, got ''",
        5: "1 columns instead of 3",
    }


def test_sst2(tmp_path: Path) -> None:
    write(tmp_path / "dev.tsv", "sentence\tlabel", "fine\t1", "dull\t0", "so so\t2")
    examples = read_examples(f"sst2:{tmp_path}", "dev")
    assert list(examples) == [
        Example("fine", "en", labels=("positive",)),
        Example("dull", "en", labels=("negative",)),
    ]
    assert reasons(examples.skipped) == {4: "the label must be 0 or 1, got '2'"}


# --- The real files

SIX = ["en", "de", "fr", "es", "hi", "th"]


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    if not (shared / "data").is_dir():
        pytest.skip(f"no data at {shared / 'data'}")
    return shared / "data"


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", [15667, 13424, 11815, 10934, 11357, 10759]),
        ("dev", [2235, 1815, 1577, 1527, 2027, 1671]),
        ("test", [4386, 3549, 3193, 2998, 2798, 2765]),
    ],
)
def test_real_mtop(data: Path, split: str, rows: list[int]) -> None:
    examples = read_examples(f"mtop:{data / 'mtop'}", split, SIX)
    counts = [sum(e.language == x for e in examples) + examples.unparsed.get(x, 0) for x in SIX]
    assert counts == rows
    assert {skipped.reason for skipped in examples.skipped} == {"slots overlap"}


def flat_slots(parse: str) -> list[tuple[str, str]]:
    """Label and text, without white space, of each slot of a parse without nesting."""
    found = re.findall(r"\[(SL:\w+) (.*?) \](?= |$)", parse.partition(" ")[2])
    return sorted((label, "".join(text.split())) for label, text in found)


@pytest.mark.parametrize("language", SIX)
def test_real_mtop_slots_are_those_of_the_parse(data: Path, language: str) -> None:
    examples = read_examples(f"mtop:{data / 'mtop'}", "dev", [language])
    with gzip.open(data / "mtop" / language / "eval.tsv.gz", "rt", encoding="utf-8") as file:
        lines = [line.split("\t") for line in file]
    bad = {skipped.line for skipped in examples.skipped}
    kept = [line for number, line in enumerate(lines, start=1) if number not in bad]
    for example, (text, parse, *_) in zip(examples, kept, strict=True):
        assert example.text == text
        assert parse.startswith(f"[{example.intent} ")
        ours = sorted((label, "".join(text[s:e].split())) for s, e, label in example.slots)
        assert ours == flat_slots(parse)


@pytest.mark.parametrize(
    ("kind", "split", "rows"),
    [
        ("massive", "train", 6 * 11514),
        ("massive", "dev", 6 * 2033),
        ("snips", "train", 13084),
        ("snips", "dev", 700),
        ("mtod", "train", 3617 + 2156),
        ("mtod", "dev", 1983 + 1235 + 4181),
        ("clinc150", "train", 15000 + 100),
        ("clinc150", "dev", 3000 + 100),
        ("banking77", "train", 10003),
        ("goemotions", "train", 43410),
        ("goemotions", "dev", 5426),
        ("sst2", "train", 6920),
        ("sst2", "dev", 872),
    ],
)
def test_real_rows(data: Path, kind: str, split: str, rows: int) -> None:
    examples = read_examples(f"{kind}:{data / kind}", split)
    assert (len(examples), examples.skipped) == (rows, [])


@pytest.mark.parametrize(
    ("kind", "labels"), [("clinc150", 151), ("banking77", 77), ("goemotions", 28), ("sst2", 2)]
)
def test_real_labels(data: Path, kind: str, labels: int) -> None:
    examples = read_examples(f"{kind}:{data / kind}", "train")
    assert len({label for example in examples for label in example.labels}) == labels


def test_real_massive_slots_are_those_of_the_tags(data: Path) -> None:
    with gzip.open(data / "massive" / "fr" / "dev.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.split("\t") for line in file]
    for example, row in zip(
        read_examples(f"massive:{data / 'massive'}", "dev", ["fr"]), rows, strict=True
    ):
        begun = [tag[2:] for tag in row[4].split(" ") if tag.startswith("B-")]
        assert [label for *_, label in example.slots] == begun


class AtApostrophes:
    """The projection's tokens, with an apostrophe inside a word a token of its own."""

    def __init__(self, projection: pq.Projection) -> None:
        self.projection = projection

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [
            (start + piece.start(), start + piece.end())
            for start, end in self.projection.spans(text)
            for piece in re.finditer("['\u2019]|[^'\u2019]+", text[start:end])
        ]


@pytest.mark.slow
@pytest.mark.parametrize("apostrophes", [False, True], ids=["words", "apostrophes"])
def test_real_mtop_can_be_said_in_tags_over_tokens(data: Path, apostrophes: bool) -> None:
    projection = pq.Projection(32, split="words")
    if apostrophes:
        projection = cast(pq.Projection, AtApostrophes(projection))
    train = read_examples(f"mtop:{data / 'mtop'}", "train")
    tags = collect_tags((projection.spans(e.text), e.slots) for e in train)
    # Splitting leaves little to divide: Spanish pronouns at the ends of verbs.
    assert ("O@2|B-SL:MUSIC_ARTIST_NAME" in tags) is not apostrophes
    assert "O@-2|B-SL:PERSON_REMINDED" in tags
    for split in ("dev", "test"):
        held_out = read_examples(f"mtop:{data / 'mtop'}", split)
        ceiling = metrics.ceiling(held_out, projection, tags, held_out.unparsed)
        assert sorted(ceiling) == sorted(SIX)
        for share in ceiling.values():
            assert share.slots >= 0.995
            assert share.utterances >= 0.99


def test_real_massive_rows_of_one_id_are_translations(data: Path) -> None:
    spec = f"massive:{data / 'massive'}"
    english, thai = (read_examples(spec, "dev", [language]) for language in ("en", "th"))
    assert [row.id for row in english] == [row.id for row in thai]
    assert [row.intent for row in english] == [row.intent for row in thai]
    assert len({row.id for row in english}) == 2033
