"""Text from callers: what is accepted, and in which form it is stored.

JSON Schema cannot express most of these rules, so the OpenAPI document names them as formats.
"""

import re
from collections.abc import Callable
from functools import cache
from unicodedata import category, normalize

import idna
from msgspec import Struct
from msgspec.inspect import StrType, type_info

from clinic.fields import InvalidFieldError
from clinic.problems import options, type_at

REFUSED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Categories of characters that are invisible, control the display or are unassigned."""
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc")
"""Invisible characters whose category is that of letters, marks or symbols."""
JOINERS = frozenset("\u200c\u200d")
"""Zero-width joiners, which occur inside words of some scripts and inside emoji."""
FIRST_JOINED = "\u0590"
"""The first character of such scripts; Latin, Greek and Cyrillic letters are below it."""
FIRST_MARK = "\u0300"
MAX_MARKS = 6
"""Marks on one letter: scripts need up to four; many more cover the lines above and below."""
VARIATIONS = frozenset(
    map(chr, [*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
)
"""Variation selectors, which select the form of the symbol or ideograph before them."""
VARIED = frozenset({"Lo", "Sm", "So"})
KEYCAP = "\u20e3"
LINE_ENDS = str.maketrans("\n\r\t", "   ")

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL = re.compile(
    rf"{ATOM}(?:\.{ATOM})*@(?:{LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])"
)
"""The addresses of RFC 5321 without quotes and IP addresses, at a domain with a dot."""
MAX_LOCAL = 64
MAX_EMAIL = 254
MAX_PHONE = 40
PHONE = re.compile(r"(?=[+(0-9])\+?[ ()./-]*(?:[0-9][ ()./-]*){3,15}")
"""3 to 15 digits (E.164 allows 15), optionally a leading plus sign and separators."""

SINGLE_LINE_RULE = (
    "a single line of text with a letter or a digit, without control and invisible characters"
)
MULTI_LINE_RULE = "text without control and invisible characters"
EMAIL_RULE = "an e-mail address, such as ana@example.org"
LOCAL_RULE = "an e-mail address with ASCII characters before the `@`, such as jose@example.org"
PHONE_RULE = "a phone number of 3 to 15 digits, such as +56 9 1234 5678"


class InvalidTextError(Exception):
    """A text breaks a rule; the message says what was expected."""


def tidy(struct: Struct, **rules: Callable[[str], str]) -> None:
    """Replace the texts of a body by their stored form; other values do not change."""
    for field, rule in rules.items():
        value = getattr(struct, field)
        if isinstance(value, str):
            try:
                tidied = rule(value)
            except InvalidTextError as error:
                raise InvalidFieldError(field, f"Expected {error}.") from None
            if tidied is not value:
                if len(tidied) > len(value):
                    check_length(struct, field, tidied)
                setattr(struct, field, tidied)


def check_length(struct: Struct, field: str, text: str) -> None:
    """Refuse a text that NFC or IDNA makes longer than the limit."""
    limit = max_length(type(struct), field)
    if len(text) > limit:
        raise InvalidFieldError(field, f"Expected text of length <= {limit} as it is stored.")


@cache
def max_length(struct: type[Struct], field: str) -> int:
    members = options(type_at(type_info(struct), [field]))
    return max(member.max_length or 0 for member in members if isinstance(member, StrType))


def single_line(text: str) -> str:
    """Return a line in NFC, without outer whitespace, and with single spaces inside."""
    if not (text.isascii() and text.isprintable()):
        text = normalize("NFC", text)
        if not is_shown(text):
            raise InvalidTextError(SINGLE_LINE_RULE)
    line = " ".join(text.split())
    if not any(map(str.isalnum, line)):
        raise InvalidTextError(SINGLE_LINE_RULE)
    return line


def multi_line(text: str) -> str:
    """Return a text in NFC, without outer whitespace; it may be empty."""
    if not (text.isascii() and text.isprintable()):
        text = normalize("NFC", text)
        if not is_shown(text.translate(LINE_ENDS)):
            raise InvalidTextError(MULTI_LINE_RULE)
    return text.strip()


def is_shown(text: str) -> bool:
    """Return whether every character of a text is visible, or allowed where it stands."""
    if not BLANK.isdisjoint(text):
        return False
    if text.isprintable() and max(text, default="") < FIRST_MARK:
        return True
    marks = 0
    before = " "
    for index, character in enumerate(text):
        kind = category(character)
        if kind.startswith("M"):
            marks += 1
        elif character not in JOINERS:
            marks = 0
        after = text[index + 1 : index + 2]
        if marks > MAX_MARKS or not is_in_place(character, kind, before, after):
            return False
        before = character
    return True


def is_in_place(character: str, kind: str, before: str, after: str) -> bool:
    """Return whether a character of this category is allowed between its neighbours."""
    if character in JOINERS:
        return min(before, after) >= FIRST_JOINED and JOINERS.isdisjoint((before, after))
    if character in VARIATIONS:
        return after == KEYCAP or category(before) in VARIED
    if kind.startswith("M"):
        return not before.isspace()
    return kind not in REFUSED


def email(text: str) -> str:
    """Return an address, with a non-ASCII domain encoded for DNS (IDNA)."""
    text = text.strip(" ")
    if not text.isascii() or "xn--" in text.lower():
        text = with_encoded_domain(text)
    if len(text) > MAX_EMAIL or not EMAIL.fullmatch(text) or text.index("@") > MAX_LOCAL:
        raise InvalidTextError(EMAIL_RULE)
    return text


def with_encoded_domain(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if not local.isascii():
        raise InvalidTextError(LOCAL_RULE)
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode()}"
    except UnicodeError:
        raise InvalidTextError(EMAIL_RULE) from None


def phone(text: str) -> str:
    """Return a phone number as it was written, without outer spaces."""
    text = text.strip(" ")
    if len(text) > MAX_PHONE or not PHONE.fullmatch(text):
        raise InvalidTextError(PHONE_RULE)
    return text
