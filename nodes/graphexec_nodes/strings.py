"""Nodes that work on texts."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from graphexec.errors import GraphexecError
from graphexec.node.decorator import node
from graphexec.node.fields import Name, Range, Warn, Widget
from graphexec_nodes.primitives import PlainText

CATEGORY = "utils/string"

CaseMode = Literal["UPPERCASE", "lowercase", "Capitalize", "Title Case"]
TrimMode = Literal["Both", "Left", "Right"]
CompareMode = Literal["Starts With", "Ends With", "Equal"]
ExtractMode = Literal["First Match", "All Matches", "First Group", "All Groups"]
Delimiter = Annotated[str, Widget()]
Count = Annotated[int, Range(ge=0, le=100)]


class PatternError(GraphexecError):
    """A regular expression that cannot be read."""


@node("StringConcatenate", category=CATEGORY, display_name="Concatenate")
def concatenate(string_a: PlainText, string_b: PlainText, delimiter: Delimiter = "") -> str:
    """Join two texts.

    Args:
        string_a: the first text.
        string_b: the second text.
        delimiter: what stands between them.
    """
    return delimiter.join((string_a, string_b))


@node("StringSubstring", category=CATEGORY, display_name="Substring")
def substring(string: PlainText, start: int, end: int) -> str:
    """Cut a piece out of a text.

    Args:
        string: the text.
        start: the first character, from 0; a negative one counts from the end.
        end: the character behind the last; a negative one counts from the end.
    """
    return string[start:end]


@node("StringLength", category=CATEGORY, display_name="Length")
def length(string: PlainText) -> Annotated[int, Name("length")]:
    """Count the characters (Unicode code points) of a text.

    Args:
        string: the text.
    """
    return len(string)


@node("CaseConverter", category=CATEGORY, display_name="Case Converter")
def convert_case(string: PlainText, mode: CaseMode) -> str:
    """Write a text in capitals, in small letters, or with capitals where words start.

    Args:
        string: the text.
        mode: where capitals stand.
    """
    cases = {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
    return cases[mode](string)


@node("StringTrim", category=CATEGORY, display_name="Trim")
def trim(string: PlainText, mode: TrimMode) -> str:
    """Take white space off the ends of a text.

    Args:
        string: the text.
        mode: of which ends.
    """
    return {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}[mode](string)


@node("StringReplace", category=CATEGORY, display_name="Replace")
def replace_text(string: PlainText, find: PlainText, replace: PlainText) -> str:
    """Replace a piece of text wherever it stands.

    Args:
        string: the text.
        find: the piece; an empty one stands between all characters.
        replace: what comes in its place.
    """
    return string.replace(find, replace)


@node("StringContains", category=CATEGORY, display_name="Contains")
def contains(string: PlainText, substring: PlainText, case_sensitive: bool = True) -> Annotated[bool, Name("contains")]:
    """Tell whether a piece stands in a text.

    Args:
        string: the text.
        substring: the piece.
        case_sensitive: whether capitals differ from small letters.
    """
    whole, piece = _cased(case_sensitive, string, substring)
    return piece in whole


@node("StringCompare", category=CATEGORY, display_name="Compare")
def compare(string_a: PlainText, string_b: PlainText, mode: CompareMode, case_sensitive: bool = True) -> bool:
    """Tell whether a text starts with, ends with or equals another.

    Args:
        string_a: the text.
        string_b: the other.
        mode: how they are compared.
        case_sensitive: whether capitals differ from small letters.
    """
    a, b = _cased(case_sensitive, string_a, string_b)
    return {"Starts With": a.startswith(b), "Ends With": a.endswith(b), "Equal": a == b}[mode]


@node("RegexMatch", category=CATEGORY, display_name="Regex Match")
def match_regex(
    string: PlainText,
    regex_pattern: PlainText,
    case_insensitive: bool = True,
    multiline: bool = False,
    dotall: bool = False,
    *,
    warn: Warn,
) -> Annotated[bool, Name("matches")]:
    """Tell whether a regular expression matches anywhere in a text; one that cannot be read matches nothing.

    Args:
        string: the text.
        regex_pattern: the expression, as Python writes them.
        case_insensitive: whether capitals equal small letters.
        multiline: whether ^ and $ match at each line.
        dotall: whether a dot matches line ends.
    """
    pattern = _pattern_or_warn(regex_pattern, case_insensitive, multiline, dotall, warn)
    return pattern is not None and pattern.search(string) is not None


@node("RegexExtract", category=CATEGORY, display_name="Regex Extract")
def extract_regex(
    string: PlainText,
    regex_pattern: PlainText,
    mode: ExtractMode,
    case_insensitive: bool = True,
    multiline: bool = False,
    dotall: bool = False,
    group_index: Count = 1,
    *,
    warn: Warn,
) -> str:
    """Take what a regular expression matches out of a text; an empty text where it matches nothing.

    Several finds stand on lines of their own. `All Matches` gives the first group where the expression has groups.

    Args:
        string: the text.
        regex_pattern: the expression, as Python writes them; one that cannot be read matches nothing.
        mode: the first or all matches, whole or one group of them.
        case_insensitive: whether capitals equal small letters.
        multiline: whether ^ and $ match at each line.
        dotall: whether a dot matches line ends.
        group_index: which group, from 1; 0 is the whole match.
    """
    pattern = _pattern_or_warn(regex_pattern, case_insensitive, multiline, dotall, warn)
    return "" if pattern is None else "\n".join(_finds(pattern, string, mode, group_index))


@node("RegexReplace", category=CATEGORY, display_name="Regex Replace")
def replace_regex(
    string: PlainText,
    regex_pattern: PlainText,
    replace: PlainText,
    case_insensitive: bool | None = True,
    multiline: bool | None = False,
    dotall: bool | None = False,
    count: Count | None = 0,
) -> str:
    r"""Replace what a regular expression matches.

    Args:
        string: the text.
        regex_pattern: the expression, as Python writes them.
        replace: what comes in its place; \1 stands for the first group.
        case_insensitive: whether capitals equal small letters.
        multiline: whether ^ and $ match at each line.
        dotall: whether a dot matches line ends.
        count: how many finds are replaced at most; 0 is all.
    """
    pattern = _pattern(regex_pattern, bool(case_insensitive), bool(multiline), bool(dotall))
    try:
        return pattern.sub(replace, string, count or 0)
    except (re.error, IndexError) as error:
        raise PatternError(f"the replacement {replace!r} cannot be read: {error}") from error


def _cased(case_sensitive: bool, *texts: str) -> tuple[str, ...]:
    return texts if case_sensitive else tuple(text.lower() for text in texts)


def _pattern(text: str, case_insensitive: bool, multiline: bool, dotall: bool) -> re.Pattern[str]:
    chosen = ((case_insensitive, re.IGNORECASE), (multiline, re.MULTILINE), (dotall, re.DOTALL))
    try:
        return re.compile(text, sum(flag for wanted, flag in chosen if wanted))
    except re.error as error:
        raise PatternError(f"the regular expression {text!r} cannot be read: {error}") from error


def _pattern_or_warn(
    text: str, case_insensitive: bool, multiline: bool, dotall: bool, warn: Warn
) -> re.Pattern[str] | None:
    try:
        return _pattern(text, case_insensitive, multiline, dotall)
    except PatternError as error:
        warn(f"{error}; it matches nothing")
        return None


def _finds(pattern: re.Pattern[str], string: str, mode: ExtractMode, group: int) -> list[str]:
    """What is found; a group that took no part in a match is an empty text."""
    matches = list(pattern.finditer(string))
    if mode == "First Match":
        return [match[0] for match in matches[:1]]
    if mode == "All Matches":
        return [match[min(pattern.groups, 1)] or "" for match in matches]
    if pattern.groups < group or (mode == "All Groups" and not pattern.groups):
        return []
    return [match[group] or "" for match in (matches[:1] if mode == "First Group" else matches)]
