"""Finds the line on which each key of a TOML text stands.

`tomllib` keeps no positions, and tomlkit, which keeps every character, has no line numbers in its public interface.
So the text is read a second time here. It is called only after `tomllib` has accepted the text: nothing is validated.
"""

import bisect
import re
import tomllib

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE = re.compile(r"[^,\]}\n#]*")


def locate(text: str) -> dict[KeyPath, int]:
    """Returns the line (from 1) of each key, table and list element; list elements have their index in the path."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.tables_of: dict[KeyPath, int] = {}
        self.line_ends = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.key_and_value(table)
            self.skip(_BLANK)
        return self.lines

    def header(self) -> KeyPath:
        start = self.at
        is_list = self.text.startswith("[[", self.at)
        self.at += 2 if is_list else 1
        *outer, last = self.key()
        self.at += 2 if is_list else 1
        table: KeyPath = ()
        for part in outer:
            self.note((*table, part), start)
            table = self.current_element((*table, part))
        table = (*table, last)
        self.note(table, start)
        if is_list:
            self.tables_of[table] = self.tables_of.get(table, 0) + 1
            table = self.current_element(table)
            self.note(table, start)
        return table

    def current_element(self, table: KeyPath) -> KeyPath:
        return (*table, self.tables_of[table] - 1) if table in self.tables_of else table

    def key_and_value(self, table: KeyPath) -> None:
        start = self.at
        path = table
        for part in self.key():
            path = (*path, part)
            self.note(path, start)
        self.at += 1  # the equals sign
        self.skip(_BLANK)
        self.value(path)

    def key(self) -> list[str]:
        """Reads a dotted key and the blanks after it."""
        parts = []
        while True:
            self.skip(_SPACES)
            if self.text[self.at] in "\"'":
                parts.append(str(tomllib.loads(f"key = {self.take(_STRING)}")["key"]))
            else:
                parts.append(self.take(_BARE_KEY))
            self.skip(_SPACES)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def value(self, path: KeyPath) -> None:
        match self.text[self.at]:
            case "[":
                self.elements(path, closing="]")
            case "{":
                self.elements(path, closing="}")
            case '"' | "'":
                self.skip(_STRING)
            case _:
                self.skip(_PLAIN_VALUE)

    def elements(self, path: KeyPath, closing: str) -> None:
        """Reads a list (`]`) or an inline table (`}`)."""
        self.at += 1
        index = 0
        self.skip(_BLANK)
        while self.text[self.at] != closing:
            if closing == "}":
                self.key_and_value(path)
            else:
                self.note((*path, index), self.at)
                self.value((*path, index))
                index += 1
            self.skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
                self.skip(_BLANK)
        self.at += 1

    def note(self, path: KeyPath, start: int) -> None:
        self.lines.setdefault(path, bisect.bisect_left(self.line_ends, start) + 1)

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"no key or string at character {self.at}: not a text that tomllib accepts")
        self.at = match.end()
        return match.group()

    def skip(self, pattern: re.Pattern[str]) -> None:
        self.take(pattern)
