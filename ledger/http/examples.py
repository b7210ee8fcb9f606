"""The examples of the API's documentation: a running service's answers, which tests compare with those of now."""

from typing import Any

PRESENCE: dict[str, Any] = {}
EVENT: dict[str, Any] = {}
DELIVERY: dict[str, Any] = {}
SUMMARY: dict[str, Any] = {}
SOURCE: dict[str, Any] = {}
PROBLEM_401: dict[str, Any] = {}
PROBLEM_403: dict[str, Any] = {}
PROBLEM_422: dict[str, Any] = {}
PROBLEM_503: dict[str, Any] = {}
