# /// script
# requires-python = ">=3.11"
# dependencies = ["regex==2026.11.15", "unicodedata2==18.0.0"]
# ///
"""Writes csrc/text/unicode_tables.inc, the Unicode property tables of the C++ core.

    python scripts/generate_unicode_tables.py          # write the file
    python scripts/generate_unicode_tables.py --check  # fail when the committed file differs

Both sources carry the same version of the Unicode Character Database: `unicodedata2` states it and
gives categories, `regex` knows the properties that segmentation needs. The script refuses to run
with other releases than the pinned ones (it also reads the case folding of `regex`, which is not
public), and checks the two against each other (every general category) and against the running
interpreter (every lower-case mapping it knows), so a table is either of one Unicode version
throughout or not written.
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import regex
import unicodedata2
from regex import _regex

UNICODE_VERSION = "18.0.0"
PINNED = {"regex": "2026.11.15", "unicodedata2": "18.0.0"}
OUTPUT = Path(__file__).resolve().parent.parent / "csrc" / "text" / "unicode_tables.inc"
BLOCK = 128  # code points per block; 64 and 256 both give a larger file
WIDTH = 100

# Every scalar value; surrogates cannot come out of the UTF-8 decoder and get the default record.
SCALARS = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
ALL = "".join(map(chr, SCALARS))

CATEGORIES = (
    "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn"
)
WORD_BREAK = (
    "CR LF Newline Extend ZWJ Format Regional_Indicator Katakana Hebrew_Letter ALetter Single_Quote"
    " Double_Quote MidNumLet MidLetter MidNum Numeric ExtendNumLet WSegSpace"
)
GRAPHEME_BREAK = "CR LF Control Extend ZWJ Regional_Indicator Prepend SpacingMark L V T LV LVT"


class Record(NamedTuple):
    """What the table says of one code point, as `Properties` in csrc/text/properties.h."""

    lower_delta: int = 0
    word: str = "Other"
    grapheme: str = "Other"
    flags: int = 0


FLAGS = {"Alphabetic": 1, "Uppercase": 2, "White_Space": 4, "Blank": 8}


def has(property_name: str) -> set[int]:
    """The code points with a property, e.g. "Alphabetic" or "InCB=Linker"."""
    return {ord(c) for c in regex.findall(rf"\p{{{property_name}}}", ALL)}


def values(property_name: str, names: str) -> dict[int, str]:
    """Code point -> value of an enumerated property, without its default value."""
    found: dict[int, str] = {}
    for name in names.split():
        found.update(dict.fromkeys(has(f"{property_name}={name}"), name))
    default = "None" if property_name == "InCB" else "Other"
    if len(found) + len(has(f"{property_name}={default}")) != len(SCALARS):
        sys.exit(
            f"{property_name} has values besides {names} and {default}: a new Unicode version?"
        )
    return found


def check_sources() -> None:
    """Exits unless the pinned releases run and agree on every general category."""
    for package, version in PINNED.items():
        if metadata.version(package) != version:
            sys.exit(f"needs {package}=={version}, found {metadata.version(package)}")
    if unicodedata2.unidata_version != UNICODE_VERSION:
        sys.exit(f"unicodedata2 carries Unicode {unicodedata2.unidata_version}")
    by_regex = values_of_categories()
    for cp in SCALARS:
        if by_regex[cp] != unicodedata2.category(chr(cp)):
            sys.exit(f"regex and unicodedata2 disagree on the category of U+{cp:04X}")


def values_of_categories() -> dict[int, str]:
    """Code point -> general category, from regex."""
    return {cp: category for category in CATEGORIES.split() for cp in has(f"gc={category}")}


def lower_mapping() -> dict[int, int]:
    """Simple_Lowercase_Mapping, where it is not the identity.

    regex does not expose it. For a code point that changes when lower-cased it equals the simple
    case folding, with three exceptions: Cherokee folds to upper case, so there the mapping is the
    only other member of the case class; U+0130 has no simple folding; and U+0049, whose case class
    regex widens by the Turkic letters.
    """
    mapping = {0x49: 0x69, 0x130: 0x69}
    simple = regex.IGNORECASE | regex.UNICODE | regex.VERSION0
    for cp in sorted(has("Changes_When_Lowercased") - mapping.keys()):
        folded = _regex.fold_case(simple, chr(cp))
        others = [other for other in _regex.get_all_cases(simple, cp) if other != cp]
        if folded != chr(cp):
            mapping[cp] = ord(folded)
        elif len(others) == 1:
            mapping[cp] = others[0]
        else:
            sys.exit(f"no unique lower case for U+{cp:04X}: {others}")
    for cp in SCALARS:
        lower = chr(cp).lower()  # the full mapping: longer than one for U+0130 alone
        known = unicodedata.category(chr(cp)) != "Cn"
        if known and len(lower) == 1 and mapping.get(cp, cp) != ord(lower):
            sys.exit(f"lower case of U+{cp:04X} differs from the interpreter's")
    return mapping


def grapheme_classes() -> dict[int, str]:
    """Grapheme_Cluster_Break, refined by the two properties that GB9c and GB11 look at."""
    classes = values("GCB", GRAPHEME_BREAK)
    conjunct = values("InCB", "Linker Consonant Extend")
    pictographic = has("Extended_Pictographic")
    refined: dict[int, str] = {}
    names = {
        ("Other", "None", True): "Pictographic",
        ("Other", "Consonant", False): "Consonant",
        ("Other", "Linker", False): "Linker",
        ("Extend", "Linker", False): "Extend_Linker",
        ("Extend", "None", False): "Extend_Only",
        ("Extend", "Extend", False): "Extend",
        ("ZWJ", "Extend", False): "ZWJ",
    }
    for cp in classes.keys() | conjunct.keys() | pictographic:
        key = (classes.get(cp, "Other"), conjunct.get(cp, "None"), cp in pictographic)
        plain = key[1] == "None" and not key[2] and key[0] not in ("Extend", "ZWJ")
        if not plain and key not in names:
            sys.exit(f"U+{cp:04X} has a combination of properties no class stands for: {key}")
        refined[cp] = key[0] if plain else names[key]
    return refined


def records() -> list[Record]:
    """One record per code point, U+0000 to U+10FFFF."""
    lower = lower_mapping()
    word = values("WB", WORD_BREAK)
    grapheme = grapheme_classes()
    flagged = {name: has(name) for name in ("Alphabetic", "Uppercase", "White_Space")}
    # Nothing to see: white space and controls. Cf without the Arabic and other number signs, which
    # are visible and are exactly those with Grapheme_Cluster_Break=Prepend.
    blank = flagged["White_Space"] | has("gc=Cc") | (has("gc=Cf") - has("GCB=Prepend"))
    flagged["Blank"] = blank
    table = [Record()] * 0x110000
    for cp in SCALARS:
        bits = sum(bit for name, bit in FLAGS.items() if cp in flagged[name])
        table[cp] = Record(
            lower.get(cp, cp) - cp, word.get(cp, "Other"), grapheme.get(cp, "Other"), bits
        )
    return table


def rows(numbers: list[int]) -> str:
    """Numbers as lines of at most WIDTH columns."""
    lines = [""]
    for number in numbers:
        if len(lines[-1]) + len(f"{number},") > WIDTH:
            lines.append("")
        lines[-1] += f"{number},"
    return "\n".join(lines)


def render() -> str:
    """The text of the generated file."""
    table = records()
    kinds = sorted(set(table), key=lambda record: (record != Record(), record))
    number = {record: i for i, record in enumerate(kinds)}
    blocks: dict[tuple[int, ...], int] = {}
    stage1 = []
    for start in range(0, len(table), BLOCK):
        block = tuple(number[record] for record in table[start : start + BLOCK])
        stage1.append(blocks.setdefault(block, len(blocks)))
    if len(kinds) > 256:
        sys.exit(f"{len(kinds)} different records do not fit a byte")
    stage2 = [entry for block in blocks for entry in block]
    sources = ", ".join(f"{package} {version}" for package, version in PINNED.items())
    entries = "\n".join(
        f"{{{r.lower_delta}, WordClass::{r.word}, GraphemeClass::{r.grapheme}, {r.flags}}},"
        for r in kinds
    )
    return f"""\
// Unicode {UNICODE_VERSION}. Generated by scripts/generate_unicode_tables.py; do not edit.
// Sources: {sources}.
// clang-format off
const char kUnicodeVersion[] = "{UNICODE_VERSION}";

const Properties kRecords[{len(kinds)}] = {{
{entries}
}};

static_assert(kBlockSize == {BLOCK}, "properties.h and the generator disagree");
const std::uint16_t kBlocks[{len(stage1)}] = {{
{rows(stage1)}
}};

const std::uint8_t kIndices[{len(stage2)}] = {{
{rows(stage2)}
}};
// clang-format on
"""


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    check_sources()
    text = render()
    if not arguments.check:
        OUTPUT.write_text(text, encoding="ascii", newline="\n")
    elif OUTPUT.read_text(encoding="ascii") != text:
        sys.exit(f"{OUTPUT} is not what this script writes; run it without --check")


if __name__ == "__main__":
    main()
