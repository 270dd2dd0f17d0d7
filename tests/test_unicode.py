"""The generated Unicode tables, against sources and derivations that the generator does not use."""

from __future__ import annotations

import codecs
import subprocess
import sys
import unicodedata
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pqrnn_native import _core

ROOT = Path(__file__).resolve().parent.parent
SCALARS = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]

# Cf characters drawn around the digits or letters after them (Prepended_Concatenation_Mark).
NUMBER_SIGNS = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
# Enclosed letters of category So with the property Other_Alphabetic.
CIRCLED = [(0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)]


@pytest.fixture(scope="module")
def categories() -> dict[int, str]:
    """Code point -> general category in the version of our tables."""
    ucd = pytest.importorskip("unicodedata2")
    if ucd.unidata_version != _core.unicode_version():
        pytest.skip(f"unicodedata2 carries {ucd.unidata_version}, not {_core.unicode_version()}")
    return {cp: ucd.category(chr(cp)) for cp in SCALARS}


def within(cp: int, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= cp <= last for first, last in ranges)


def test_generator_writes_the_committed_file() -> None:
    script = ROOT / "scripts" / "generate_unicode_tables.py"
    if not script.exists():
        pytest.skip("the generator is only in the repository")
    for package, version in {"regex": "2026.11.15", "unicodedata2": "18.0.0"}.items():
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip(f"needs {package}")
        if found != version:
            pytest.skip(f"needs {package}=={version}, found {found}")
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_first_line_of_the_tables_names_the_version() -> None:
    path = ROOT / "csrc" / "text" / "unicode_tables.inc"
    if not path.exists():
        pytest.skip("no source tree")
    first = path.read_text(encoding="ascii").splitlines()[0]
    assert first.startswith(f"// Unicode {_core.unicode_version()}.")


def test_lower_case_is_the_interpreters_where_it_knows_the_character() -> None:
    wrong = []
    for cp in SCALARS:
        full = chr(cp).lower()
        if unicodedata.category(chr(cp)) != "Cn" and len(full) == 1:
            wrong += [hex(cp)] * (_core.simple_lower(cp) != ord(full))
    assert wrong == []


def test_lower_case_of_newer_characters_follows_their_names(categories: dict[int, str]) -> None:
    import unicodedata2

    wrong = []
    for cp in SCALARS:
        if unicodedata.category(chr(cp)) != "Cn":
            continue
        name = unicodedata2.name(chr(cp), "")
        expected = cp
        if categories[cp] == "Lu":
            assert " CAPITAL LETTER " in name
            expected = ord(unicodedata2.lookup(name.replace(" CAPITAL ", " SMALL ")))
        wrong += [hex(cp)] * (_core.simple_lower(cp) != expected)
    assert wrong == []


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        (0x0041, 0x0061),  # A
        (0x0130, 0x0069),  # I with dot above: i alone, although the full mapping has two characters
        (0x03A3, 0x03C3),  # final sigma needs context, so the medial one stands everywhere
        (0x01C5, 0x01C6),  # titlecase DZ with caron
        (0x1E9E, 0x00DF),  # capital sharp s
        (0x2126, 0x03C9),  # ohm sign
        (0x212A, 0x006B),  # kelvin sign
        (0x13A0, 0xAB70),  # Cherokee: capitals are the older letters
        (0x1C90, 0x10D0),  # Georgian Mtavruli
        (0x24B6, 0x24D0),  # circled A
        (0x2160, 0x2170),  # Roman numeral one
        (0x10400, 0x10428),  # Deseret
        (0x0131, 0x0131),  # dotless i is lower case already
    ],
)
def test_lower_case_of(upper: int, lower: int) -> None:
    assert _core.simple_lower(upper) == lower


def test_uppercase_is_lu_and_other_uppercase(categories: dict[int, str]) -> None:
    roman_and_circled = [(0x2160, 0x216F), (0x24B6, 0x24CF), *CIRCLED[1:]]
    for cp, category in categories.items():
        expected = category == "Lu" or within(cp, roman_and_circled)
        assert _core.is_uppercase(cp) == expected, hex(cp)


def test_alphabetic_is_letters_and_other_alphabetic(categories: dict[int, str]) -> None:
    for cp, category in categories.items():
        if category in ("Mn", "Mc"):
            continue  # by character, below
        expected = category[0] == "L" or category == "Nl" or within(cp, CIRCLED)
        assert _core.is_alphabetic(cp) == expected, hex(cp)


@pytest.mark.parametrize(
    ("cp", "expected"),
    [
        (0x0300, False),  # combining grave accent
        (0x0345, True),  # combining iota subscript
        (0x05B4, True),  # Hebrew point hiriq
        (0x064B, True),  # Arabic fathatan
        (0x093E, True),  # Devanagari vowel sign aa
        (0x094D, False),  # Devanagari virama
        (0x0E31, True),  # Thai mai han-akat
        (0x0E48, False),  # Thai mai ek, a tone mark
        (0x3099, False),  # combining voiced sound mark
    ],
)
def test_alphabetic_marks(cp: int, expected: bool) -> None:
    assert _core.is_alphabetic(cp) == expected


def test_white_space_is_these_25() -> None:
    expected = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029}
    expected |= {0x202F, 0x205F, 0x3000}
    assert {cp for cp in SCALARS if _core.is_whitespace(cp)} == expected
    assert len(expected) == 25


def test_blank_is_white_space_and_invisible_controls(categories: dict[int, str]) -> None:
    for cp, category in categories.items():
        format_character = category == "Cf" and cp not in NUMBER_SIGNS
        expected = _core.is_whitespace(cp) or category == "Cc" or format_character
        assert _core.segmentation_classes(cp)[2] == expected, hex(cp)


def test_hangul_classes_follow_the_syllable_arithmetic() -> None:
    for cp in range(0xAC00, 0xAC00 + 19 * 21 * 28):
        expected = "LV" if (cp - 0xAC00) % 28 == 0 else "LVT"
        assert _core.segmentation_classes(cp)[:2] == ("ALetter", expected), hex(cp)


def test_classes_that_categories_define(categories: dict[int, str]) -> None:
    for cp, category in categories.items():
        word, grapheme, _ = _core.segmentation_classes(cp)
        if category in ("Mn", "Me"):
            assert word == "Extend", hex(cp)
            assert grapheme.startswith("Extend"), hex(cp)
        if category == "Nd" and not 0xFF10 <= cp <= 0xFF19:
            assert word == "Numeric", hex(cp)
        if category == "Pc":
            assert word == "ExtendNumLet", hex(cp)
        if category in ("Zl", "Zp"):
            assert (word, grapheme) == ("Newline", "Control"), hex(cp)
        if category == "Cn" and grapheme != "Control":
            assert word == "Other", hex(cp)


@pytest.mark.parametrize(
    ("cp", "word", "grapheme"),
    [
        (0x000D, "CR", "CR"),
        (0x000A, "LF", "LF"),
        (0x0085, "Newline", "Control"),
        (0x0020, "WSegSpace", "Other"),
        (0x00A0, "Other", "Other"),
        (0x0027, "Single_Quote", "Other"),
        (0x0022, "Double_Quote", "Other"),
        (0x002E, "MidNumLet", "Other"),
        (0x2019, "MidNumLet", "Other"),
        (0x003A, "MidLetter", "Other"),
        (0x00B7, "MidLetter", "Other"),
        (0x002C, "MidNum", "Other"),
        (0x202F, "ExtendNumLet", "Other"),
        (0x05D0, "Hebrew_Letter", "Other"),
        (0x30A2, "Katakana", "Other"),
        (0x30FC, "Katakana", "Other"),
        (0x3042, "Other", "Other"),
        (0x4E2D, "Other", "Other"),
        (0x0E01, "Other", "Other"),
        (0x0E33, "Other", "SpacingMark"),
        (0x0600, "Numeric", "Prepend"),
        (0x200B, "Other", "Control"),
        (0x200C, "Extend", "Extend_Only"),
        (0x200D, "ZWJ", "ZWJ"),
        (0x00AD, "Format", "Control"),
        (0x0903, "Extend", "SpacingMark"),
        (0x0915, "ALetter", "Consonant"),
        (0x094D, "Extend", "Extend_Linker"),
        (0x1100, "ALetter", "L"),
        (0x1161, "ALetter", "V"),
        (0x11A8, "ALetter", "T"),
        (0x1F1E6, "Regional_Indicator", "Regional_Indicator"),
        (0x1F3FD, "Extend", "Extend"),
        (0x1F469, "Other", "Pictographic"),
        (0x24C2, "ALetter", "Pictographic"),
        (0xFFFD, "Other", "Other"),
    ],
)
def test_segmentation_classes_of(cp: int, word: str, grapheme: str) -> None:
    assert _core.segmentation_classes(cp)[:2] == (word, grapheme)


def test_segmentation_classes_against_uniseg() -> None:
    """A second opinion from older data: only what Unicode has changed since may differ."""
    uniseg = pytest.importorskip("uniseg", reason="second opinion on segmentation classes")
    if uniseg.unidata_version != "16.0.0":
        pytest.skip(f"the differences below are known for 16.0.0, not {uniseg.unidata_version}")
    from uniseg.graphemecluster import grapheme_cluster_break
    from uniseg.wordbreak import word_break

    coarse = {"Consonant": "Other", "Linker": "Other", "Pictographic": "Other"}
    coarse |= {"Extend_Linker": "Extend", "Extend_Only": "Extend"}
    misspelt = {"PACINGMARK": "SPACINGMARK"}
    different = set()
    for cp in SCALARS:
        if unicodedata.category(chr(cp)) == "Cn":
            continue
        word, grapheme, _ = _core.segmentation_classes(cp)
        ours = (word.upper(), coarse.get(grapheme, grapheme).upper())
        cluster = grapheme_cluster_break(chr(cp)).name
        if ours != (word_break(chr(cp)).name, misspelt.get(cluster, cluster)):
            different.add(cp)
    # U+00B8 became a letter in Unicode 17, U+11A3A no longer a Prepend in Unicode 18.
    assert different == {0xB8, 0x11A3A}


@pytest.mark.parametrize("cp", [-1, 0x110000, 2**63, -(2**70)])
def test_code_points_out_of_range_are_refused(cp: int) -> None:
    for function in (
        _core.simple_lower,
        _core.is_alphabetic,
        _core.is_uppercase,
        _core.is_whitespace,
        _core.segmentation_classes,
    ):
        with pytest.raises((ValueError, OverflowError), match="code_point"):
            function(cp)
    with pytest.raises(TypeError):
        _core.simple_lower("a")  # type: ignore[arg-type]


def ill_formed_runs(data: bytes) -> list[tuple[int, int]]:
    """Byte ranges that Python's decoder replaces, one U+FFFD each."""
    runs: list[tuple[int, int]] = []

    def record(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        runs.append((error.start, error.end))
        return "\ufffd", error.end

    codecs.register_error("pqrnn-record", record)
    data.decode("utf-8", "pqrnn-record")
    return runs


almost_utf8 = st.lists(
    st.one_of(
        st.binary(max_size=3),
        st.text(max_size=3).map(lambda s: s.encode("utf-8", "surrogatepass")),
        st.sampled_from([b"\xe2\x82", b"\xf0\x9f\x91", b"\xed\xa0", b"\xf4\x90", b"\xc0", b"\xfe"]),
    ),
    max_size=12,
).map(b"".join)


@given(almost_utf8)
def test_character_offsets_are_those_of_pythons_decoder(data: bytes) -> None:
    replaced = dict(ill_formed_runs(data))
    starts = []  # byte offset of each character
    begin = 0
    while begin < len(data):
        starts.append(begin)
        end = replaced.get(begin, begin + 1)
        while begin not in replaced and end < len(data) and 0x80 <= data[end] < 0xC0:
            if end in replaced:
                break
            end += 1
        begin = end
    assert len(starts) == len(data.decode("utf-8", "replace"))

    starts.append(len(data))
    bytes_of = list(pairwise(starts))
    expected = [(i, i + 1) for i in range(len(bytes_of))]
    assert _core.to_char_spans(data, bytes_of) == expected
    assert _core.to_char_spans(data, bytes_of[::-1]) == expected[::-1]
    inside = [(begin, begin + 1) for begin, _ in bytes_of]
    assert _core.to_char_spans(data, inside) == expected


@pytest.mark.parametrize("span", [(-1, 0), (2, 1), (0, 4)])
def test_spans_outside_the_text_are_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"spans must lie in a text of 3 bytes"):
        _core.to_char_spans(b"abc", [span])
