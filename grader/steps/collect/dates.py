"""Dates in the names of folders and zip files, in the forms that course systems and people write; others are refused.

A parser that makes a date of everything reads a time for a time zone, and a day for a month.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_NAME = r"(?P<name>[a-z]{3,9})\.?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_NTH = r"(?P<day>\d\d?)(?:st|nd|rd|th)?"
_DATES = [
    rf"{_YEAR}(?P<gap>[-./ ])(?P<month>\d\d?)(?P=gap)(?P<day>\d\d?)",
    rf"(?P<first>\d\d?)(?P<gap>[-./ ])(?P<second>\d\d?)(?P=gap){_YEAR}",
    rf"{_NTH}[-. ]?{_NAME}[-,. ]+{_YEAR}",
    rf"{_NAME}[-. ]*{_NTH}[-,. ]+{_YEAR}",
    rf"{_YEAR}[-. ]{_NAME}[-. ]{_NTH}",
]
_COMPACT = rf"{_YEAR}(?P<month>\d\d)(?P<day>\d\d)"
_HALF = r"(?: ?(?P<half>[ap])\.?m\.?)"
_TIMES = [
    rf"(?P<hour>\d\d?)(?P<colon>[-:.h ])(?P<minute>\d\d)(?:(?P=colon)(?P<sec>\d\d)(?:[.,]\d{{1,9}})?)?{_HALF}?",
    rf"(?P<hour>\d\d)(?P<minute>\d\d)(?P<sec>\d\d)?{_HALF}?",
    rf"(?P<hour>\d\d?)(?P<minute>\d\d)?{_HALF}",
]
_ZONE = r"(?: ?(?P<zone>z|(?:utc|gmt)?(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?|utc|gmt))?"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? )?"
_FORMS = [
    re.compile(rf"{_WEEKDAY}{date}(?:{between}{time}{_ZONE})?", re.A)
    for dates, between in ((_DATES, r"(?: at |, at |, ?| - |[-t@. ])"), ([_COMPACT], r"[-t@. ]?"))
    for date in dates
    for time in _TIMES
]
_READ = "one that is read looks like 2027-01-30 20:30:10 UTC or 20270130T203010+0100"


def parse_date(text: str) -> datetime:
    """Return the date that a text is, in UTC; without a time it is midnight, without a zone UTC.

    Raises ValueError, with a sentence on why, for what is no date, could be two, or names a zone by letters that
    several zones have (EST, IST).
    """
    plain = " ".join(text.replace("_", " ").split()).lower()
    found = {_read(match) for form in _FORMS if (match := form.fullmatch(plain))}
    if len(found) != 1:
        raise ValueError(f"{text!r} is no date; {_READ}")
    return found.pop()


def _read(match: re.Match[str]) -> datetime:
    field = match.groupdict()
    if field.get("first"):
        first, second = int(field["first"]), int(field["second"])
        if first <= 12 and second <= 12 and first != second:
            raise ValueError(f"{match[0]!r} may be two dates, day or month first; {_READ}")
        day, month = (first, second) if second <= 12 else (second, first)
    else:
        day, month = int(field["day"]), _month(field)
    hour, half = int(field["hour"] or 0), field["half"]
    if half and not 1 <= hour <= 12:
        raise ValueError(f"{match[0]!r} has an hour that no clock has; {_READ}")
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    if field["sign"] == "-" and field.get("colon") == "-" and not (field["sec"] and field["minutes"]):
        raise ValueError(f"{match[0]!r}: at its end may stand a zone or seconds; {_READ}")
    try:
        date = datetime(
            int(field["year"]), month, day, hour, int(field.get("minute") or 0), int(field.get("sec") or 0)
        )
        return date.replace(tzinfo=_zone(field)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{match[0]!r} is a day or time that no calendar has; {_READ}") from None


def _month(field: dict[str, str | None]) -> int:
    if not (name := field.get("name")):
        return int(field["month"] or 0)
    for number, month in enumerate(_MONTHS, 1):
        if name in (month, month[:3]) or (name == "sept" and month == "september"):
            return number
    raise ValueError(f"{name!r} is no month; {_READ}")


def _zone(field: dict[str, str | None]) -> timezone:
    if not field["sign"]:
        return UTC
    offset = timedelta(hours=int(field["hours"] or 0), minutes=int(field["minutes"] or 0))
    return timezone(-offset if field["sign"] == "-" else offset)
