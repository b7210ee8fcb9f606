"""Which language and which form a caller wants, from the headers of HTTP."""

from ledger.languages import LANGUAGES, Language

JSON, TEXT = "application/json", "text/plain"


def negotiate_language(header: str | None) -> Language:
    """The best language of an `Accept-Language`, English where none of ours is wanted."""
    best: tuple[float, Language] | None = None
    for tag, weight in _weighed(header or ""):
        for language in LANGUAGES:
            fits = tag == "*" or tag.partition("-")[0] == language
            if fits and weight > 0 and (best is None or weight > best[0]):
                best = weight, language
    return "en" if best is None else best[1]


def wants_text(header: str | None) -> bool:
    """Whether an `Accept` prefers plain text to JSON, which is the default."""
    weights = dict(_weighed(header or ""))
    wildcard = weights.get("*/*", 0.0)
    as_json = weights.get(JSON, weights.get("application/*", wildcard))
    return weights.get(TEXT, weights.get("text/*", wildcard)) > as_json


def _weighed(header: str) -> list[tuple[str, float]]:
    """Each element of a header with its q-value, in order; one that is not a number counts as 0."""
    found = []
    for element in header.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if name:
            found.append((name, _number(weight)))
    return found


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 <= number <= 1 else 0.0
