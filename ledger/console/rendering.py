"""Makes pages of templates: what others wrote is text and turns no line around, instants are readable and exact."""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from itertools import zip_longest
from typing import Any

import msgspec
from jinja2 import ChainableUndefined, Environment, PackageLoader, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from ledger import __version__
from ledger.console import addresses
from ledger.console.visit import ACTING, Page, PageRequest
from ledger.console.words import Words
from ledger.domain.device_names import DEVICE_NAMES
from ledger.languages import Language
from ledger.text import printable, visible, visible_json

NAVIGATION = ("", "users", "live", "drift", "runs", "sources", "alerts", "sinks", "lists", "settings")
"""The pages in the order of the menu."""
DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS = 86_400, 3_600, 60

INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT|\b)(\d\d:\d\d:\d\d(?:\.\d+)?Z)")
CODE = Markup("<code>{}</code>")
TIME = Markup('<time datetime="{exact}" title="{exact}">{shown}</time>')
UID = Markup('<bdi class="uid">{shown}</bdi>')
HIDDEN = Markup('<bdi class="uid">{shown}</bdi> <small class="hidden-marks" title="{title}">{escaped}</small>')


def instant(text: str | None, form: str = "second") -> Markup:
    """An RFC 3339 instant in UTC; a script of ours shows it in the reader's zone."""
    if not text:
        return Markup('<span class="none">–</span>')
    shown = text[:10] + " " + text[11 : 23 if form == "milli" else 19] + " UTC"
    return TIME.format(exact=text, shown=shown)


def instants(text: str, asked: str = "") -> Markup:
    """A sentence of the API, its instants like any other; of the day asked about it writes only the time."""
    parts = INSTANT.split(text)
    told = (instant((day or asked[:11]) + clock, "milli") for day, clock in zip(parts[1::3], parts[2::3], strict=True))
    return Markup("").join(each for pair in zip_longest(map(prose, parts[::3]), told, fillvalue="") for each in pair)


def prose(text: str) -> Markup:
    """A sentence of the API: what it has between backticks is something to type."""
    parts = (escape(part) for part in shown(text).split("`"))
    return Markup("").join(CODE.format(part) if index % 2 else part for index, part in enumerate(parts))


def shown(value: Any) -> Any:
    """Whatever a template shows, with the marks written out that would turn around or hide what stands beside them."""
    return value if not isinstance(value, str) or isinstance(value, Markup) else visible(value)


def as_given(value: object) -> Markup:
    """The value of a field, which is sent as it was typed."""
    return escape(value)


UNITS: Mapping[str, Mapping[str, str]] = {
    "en": {"d": "d", "h": "h", "min": "min", "s": "s"},
    "zh": {"d": "天", "h": "小时", "min": "分钟", "s": "秒"},
}


def duration(seconds: float | None, language: Language = "en") -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return "–"
    units = UNITS[language]
    if seconds < MINUTE_SECONDS:
        return f"{seconds:.3g} {units['s']}"
    whole = round(seconds)
    for unit, name, lower, part in (
        (DAY_SECONDS, "d", HOUR_SECONDS, "h"),
        (HOUR_SECONDS, "h", MINUTE_SECONDS, "min"),
        (MINUTE_SECONDS, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // lower
            return f"{whole // unit} {units[name]}" + (f" {rest} {units[part]}" if rest else "")
    raise AssertionError


@pass_context
def duration_here(context: Context, seconds: float | None) -> str:
    """The same in the language of the page."""
    return duration(seconds, context["t"].language)


def percent(share: float | None) -> str:
    """`0.12 %`."""
    if share is None:
        return "–"
    return f"{100 * share:,.0f} %" if abs(share) >= 1 else f"{100 * share:.3g} %"


def number(value: float | None) -> str:
    """`1,234`."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def pretty(value: object) -> str:
    """JSON over several lines."""
    return visible_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def uid_shown(words: Words, uid: str) -> Markup:
    """A uid as text in a direction of its own; where it has marks that nobody sees, they are written out beside it."""
    seen = "".join(_visible(mark) for mark in uid)
    written = printable(uid)
    if written == uid:
        return UID.format(shown=seen)
    return HIDDEN.format(shown=seen, escaped=written, title=words("uid.hidden"))


def _visible(mark: str) -> str:
    """Control characters and halves of characters are no text of HTML; formatting ones are."""
    if unicodedata.category(mark) in ("Cc", "Cs"):
        return mark.encode("unicode_escape").decode()
    return mark


@cache
def _environment() -> Environment:
    """The templates, read once."""
    made = Environment(
        loader=PackageLoader("ledger.console", "templates"),
        autoescape=True,
        finalize=shown,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "instant": instant,
        "instants": instants,
        "prose": prose,
        "as_given": as_given,
        "duration": duration_here,
        "number": number,
        "percent": percent,
        "json": pretty,
    }
    made.globals |= {
        "address": addresses.path,
        "user_address": addresses.user,
        "with_query": addresses.with_query,
        "navigation": NAVIGATION,
        "device_name": lambda flag: DEVICE_NAMES.get(flag, "custom"),
        "version": __version__,
    }
    return made


class Renderer:
    """Renders pages, which load files of a version."""

    def __init__(self, static_version: str) -> None:
        self._static = f"/console/{static_version}/"

    def page(self, page: Page, visit: PageRequest) -> str:
        """A page for somebody who is logged in."""
        here = visit.segments[0] if visit.segments else ""
        return self.bare(page, visit.words, visit.address, visit=visit, here=here, may_act=visit.session.may(ACTING))

    def bare(self, page: Page, words: Words, address: str, **facts: Any) -> str:
        """A page for anybody."""
        shared: Mapping[str, Any] = {
            "t": words,
            "static": lambda name: self._static + name,
            "in_words": lambda said: in_words(said, words.language),
            "uid": lambda uid: uid_shown(words, uid),
            "title": page.title,
            "other_language": _in_language(address, "zh" if words.language == "en" else "en"),
            "here": None,
            "visit": None,
            "may_act": False,
        }
        return _environment().get_template(page.template).render({**shared, **facts, **page.facts})


def in_words(said: Any, language: str) -> str:
    """What the API says in both languages, in one of them."""
    return str(said.get(language, "")) if isinstance(said, Mapping) else str(said or "")


def _in_language(address: str, language: str) -> str:
    """The same page in another language."""
    path, _, query = address.partition("?")
    kept = [part for part in query.split("&") if part and not part.startswith("lang=")]
    return f"{path}?{'&'.join([*kept, f'lang={language}'])}"
