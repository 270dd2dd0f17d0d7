"""Word segmentation straight from the rules of UAX #29 (Unicode 18), one position at a time.

Quadratic on purpose: every rule looks at the text itself, to the left and to the right, and nothing
is remembered from one position to the next. Only the properties of single characters come from the
compiled core.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from pqrnn_native._core import segmentation_classes

NEWLINES = {"CR", "LF", "Newline"}
IGNORED = {"Extend", "Format", "ZWJ"}
LETTERS = {"ALetter", "Hebrew_Letter"}  # AHLetter
MID_BOTH = {"MidNumLet", "Single_Quote"}  # MidNumLetQ

# Extend (Grapheme_Cluster_Break) and Linker, Extend (Indic_Conjunct_Break) in the core's names.
GCB_EXTEND = {"Extend", "Extend_Linker", "Extend_Only"}
INCB_LINKER = {"Linker", "Extend_Linker"}
INCB_EXTEND = {"Extend", "ZWJ"}


def split_words(text: str, split_apostrophes: bool = False) -> list[tuple[int, int]]:
    """Tokens of ``text`` as (begin, end) offsets in characters.

    A token is what lies between two neighbouring positions that are word boundaries, boundaries of
    extended grapheme clusters and not within a syllable of Thai or Lao, unless every character of
    it is blank.

    With ``split_apostrophes``, U+0027 and U+2019 are of word class Other, as "!" is.

    Source: Unicode Standard Annex #29, sections 3.1.1 and 4.1.1.
    """
    word, grapheme, blank = [], [], []
    for character in text:
        properties = segmentation_classes(ord(character))
        apart = split_apostrophes and character in "'\u2019"
        word.append("Other" if apart else properties[0])
        grapheme.append(properties[1])
        blank.append(properties[2])
    boundaries = [
        i
        for i in range(len(text) + 1)
        if is_word_boundary(word, grapheme, i)
        and is_grapheme_boundary(grapheme, i)
        and not is_within_syllable(text, i)
    ]
    return [(begin, end) for begin, end in pairwise(boundaries) if not all(blank[begin:end])]


# Consonants, vowel signs that are written before or after a consonant, tone marks; first Thai, then
# Lao. Unassigned characters between are harmless.
CONSONANT = "[\u0e01-\u0e2e\u0e81-\u0eae\u0edc-\u0edf]"
BEFORE = "[\u0e40-\u0e44\u0ec0-\u0ec4]"
AFTER = "[\u0e30\u0e32\u0e45\u0eb0\u0eb2]"
TONE = "[\u0e48-\u0e4b\u0ec8-\u0ecb]"
LETTER = (
    "[\u0e01-\u0e2e\u0e30-\u0e3a\u0e40-\u0e45\u0e47-\u0e4e"
    "\u0e81-\u0eae\u0eb0-\u0ec5\u0ec7-\u0ecd\u0edc-\u0edf]"
)
NEEDS_FINAL = f"[\u0e31\u0e37\u0eb1]{TONE}*"
SILENCED = f"{CONSONANT}[\u0e34\u0e38]?[\u0e4c\u0ecc]"
# What stands left and right of a position within a syllable.
SYLLABLES = [
    (BEFORE, CONSONANT),
    (f"(?!{BEFORE}){LETTER}", AFTER),
    (NEEDS_FINAL, CONSONANT),
    (f"(?!{BEFORE}){LETTER}", SILENCED),
]


def is_within_syllable(text: str, i: int) -> bool:
    """Whether Thai or Lao spelling allows no word to end before character ``i``.

    A vowel sign that is written before its consonant, sara a and aa after it, the consonant that
    mai kan and sara uee must have, and one that thanthakhat silences all belong to a syllable.
    """
    return any(
        re.search(f"(?:{left})$", text[:i]) and re.match(right, text[i:])
        for left, right in SYLLABLES
    )


def is_word_boundary(word: Sequence[str], grapheme: Sequence[str], i: int) -> bool:
    """Whether rules WB1-WB999 break before character ``i``.

    Args:
        word: Word_Break of each character.
        grapheme: the core's grapheme class of each character; only Extended_Pictographic is read.
        i: position, 0 to ``len(word)``.
    """
    if i in (0, len(word)):  # WB1, WB2
        return True
    left, right = word[i - 1], word[i]
    if (left, right) == ("CR", "LF"):  # WB3
        return False
    if left in NEWLINES or right in NEWLINES:  # WB3a, WB3b
        return True
    if left == "ZWJ" and grapheme[i] == "Pictographic":  # WB3c
        return False
    if left == right == "WSegSpace":  # WB3d
        return False
    if right in IGNORED:  # WB4
        return False

    before = without_ignored(word[:i])
    after = without_ignored(word[i:])
    left, right = before[-1], after[0]
    left2 = before[-2] if len(before) > 1 else None
    right2 = after[1] if len(after) > 1 else None
    mid_letter = {"MidLetter"} | MID_BOTH
    mid_num = {"MidNum"} | MID_BOTH
    wordlike = LETTERS | {"Numeric", "Katakana"}
    flags = 0
    while flags < len(before) and before[-1 - flags] == "Regional_Indicator":
        flags += 1
    joined = (
        (left in LETTERS and right in LETTERS)  # WB5
        or (left in LETTERS and right in mid_letter and right2 in LETTERS)  # WB6
        or (left2 in LETTERS and left in mid_letter and right in LETTERS)  # WB7
        or (left == "Hebrew_Letter" and right == "Single_Quote")  # WB7a
        or (left, right, right2) == ("Hebrew_Letter", "Double_Quote", "Hebrew_Letter")  # WB7b
        or (left2, left, right) == ("Hebrew_Letter", "Double_Quote", "Hebrew_Letter")  # WB7c
        or (left == "Numeric" and right == "Numeric")  # WB8
        or (left in LETTERS and right == "Numeric")  # WB9
        or (left == "Numeric" and right in LETTERS)  # WB10
        or (left2 == "Numeric" and left in mid_num and right == "Numeric")  # WB11
        or (left == "Numeric" and right in mid_num and right2 == "Numeric")  # WB12
        or (left == "Katakana" and right == "Katakana")  # WB13
        or (left in wordlike | {"ExtendNumLet"} and right == "ExtendNumLet")  # WB13a
        or (left == "ExtendNumLet" and right in wordlike)  # WB13b
        or (right == "Regional_Indicator" and flags % 2 == 1)  # WB15, WB16
    )
    return not joined  # WB999


def without_ignored(word: Sequence[str]) -> list[str]:
    """WB4: X (Extend | Format | ZWJ)* becomes X, for any X but a line break."""
    kept: list[str] = []
    for c in word:
        if c not in IGNORED or not kept or kept[-1] in NEWLINES:
            kept.append(c)
    return kept


def is_grapheme_boundary(grapheme: Sequence[str], i: int) -> bool:
    """Whether rules GB1-GB999 for extended grapheme clusters break before character ``i``.

    Args:
        grapheme: the core's grapheme class of each character: Grapheme_Cluster_Break, refined by
            Indic_Conjunct_Break and Extended_Pictographic.
        i: position, 0 to ``len(grapheme)``.
    """
    if i in (0, len(grapheme)):  # GB1, GB2
        return True
    left, right = grapheme[i - 1], grapheme[i]
    if (left, right) == ("CR", "LF"):  # GB3
        return False
    if {left, right} & {"Control", "CR", "LF"}:  # GB4, GB5
        return True
    if left == "L" and right in {"L", "V", "LV", "LVT"}:  # GB6
        return False
    if left in {"LV", "V"} and right in {"V", "T"}:  # GB7
        return False
    if left in {"LVT", "T"} and right == "T":  # GB8
        return False
    if right in GCB_EXTEND | {"ZWJ", "SpacingMark"} or left == "Prepend":  # GB9, GB9a, GB9b
        return False
    if right == "Consonant":  # GB9c
        j = i - 1
        while j > 0 and grapheme[j] in INCB_EXTEND:
            j -= 1
        if grapheme[j] in INCB_LINKER:
            return False
    if left == "ZWJ" and right == "Pictographic":  # GB11
        j = i - 2
        while j > 0 and grapheme[j] in GCB_EXTEND:
            j -= 1
        if j >= 0 and grapheme[j] == "Pictographic":
            return False
    flags = 0
    while flags < i and grapheme[i - 1 - flags] == "Regional_Indicator":
        flags += 1
    return not (right == "Regional_Indicator" and flags % 2 == 1)  # GB12, GB13, GB999
