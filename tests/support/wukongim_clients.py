"""Three readers of the command `onlineStatus`, each as the official client of its platform reads it.

Written from what these clients do, and not from what we send: Android and iOS read `uid`, `all_offline` and
`main_device_flag`, and of the own user's other devices `online`; web reads `uid` and whether `online` is the number 1.
"""

from collections.abc import Mapping
from typing import Any


def _param(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if message.get("type") != 99 or message.get("cmd") != "onlineStatus":
        return None
    param = message.get("param")
    return param if isinstance(param, dict) else None


class Phone:
    """Android's and iOS's: a dot for each friend, and an icon for each other device of the own user."""

    def __init__(self, uid: str, device_flag: int = 0) -> None:
        self._uid = uid
        self._device_flag = device_flag
        self.online: dict[str, bool] = {}
        self.main: dict[str, int] = {}
        self.own: dict[int, bool] = {}
        """Of the own user's other devices, whether they are logged in."""

    def read(self, message: Mapping[str, Any]) -> None:
        param = _param(message)
        if param is None:
            return
        uid = param.get("uid")
        if not isinstance(uid, str):
            return
        if uid == self._uid:
            flag = param.get("device_flag")
            if flag != self._device_flag and isinstance(flag, int):
                self.own[flag] = param.get("online") == 1
            return
        self.online[uid] = param.get("all_offline", 0) != 1
        main = param.get("main_device_flag", 0)
        assert type(main) is int
        self.main[uid] = main


class Android(Phone):
    """A JSON object is asked whether it has a key before its number is taken."""

    def read(self, message: Mapping[str, Any]) -> None:
        param = _param(message)
        if param is not None and "all_offline" in param:
            assert type(param["all_offline"]) is int, "optInt of a boolean is 0"
        super().read(message)


class Ios(Phone):
    """A dictionary whose missing number is 0."""


class Web:
    """JavaScript's `online === 1`: neither a boolean nor another device's state makes anybody online."""

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self.online: dict[str, bool] = {}

    def read(self, message: Mapping[str, Any]) -> None:
        param = _param(message)
        if param is None:
            return
        online = param.get("online")
        self.online[param["uid"]] = type(online) is int and online == 1


Reader = Android | Ios | Web
