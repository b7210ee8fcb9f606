"""What the device flags of WuKongIM are called; any other is `custom`."""

from collections.abc import Mapping

DEVICE_NAMES: Mapping[int | None, str] = {0: "app", 1: "web", 2: "desktop", 99: "system", None: "unknown"}
