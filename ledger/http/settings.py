"""The routes of the settings: those in force, as `presence-ledger config` prints them, and to take them anew."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends, Request, Response

from ledger.errors import LedgerError, StoreUnavailable
from ledger.http import responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.paging import refuse_parameters
from ledger.http.problems import Problem
from ledger.http.responses import answered
from ledger.http.setting_answers import ChangeBody, ReloadBody, RestartBody, SettingBody, SettingItems
from ledger.http.state import get_services
from ledger.settings.difference import SettingsDifference
from ledger.settings.entries import entries

record = APIRouter(tags=["operations"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)
orders = APIRouter(tags=["operations"], dependencies=[Depends(require("admin"))], responses=responses.PROBLEMS)

WAY_OUT = "restart the service; until then what was there before is in force"

Reload = Callable[[str], Awaitable[SettingsDifference]]


@record.get("/v1/settings", summary="The settings in force", responses=answered(SettingItems))
def list_settings(request: Request) -> Response:
    """Every setting of this instance, its value and where that came from; secrets are masked."""
    refuse_parameters(request)
    found = get_services(request).settings
    items = [SettingBody(each.key, each.value, str(each.origin)) for each in entries(found)]
    return as_json(SettingItems(None if found.file is None else str(found.file), items))


@orders.post(
    "/v1/settings/reload",
    summary="Take changed settings",
    responses=answered(ReloadBody) | {409: responses.problem("The settings cannot be taken; nothing has changed")},
)
async def reload_settings(request: Request) -> Response:
    """Read the settings of this instance anew and take what has changed, without a webhook refused.

    What takes effect at the next start alone is among `restart`, and what was there before stays in force. Settings
    with an error change nothing, and the answer names the line. Each instance is told for itself.
    """
    refuse_parameters(request)
    reload: Reload = request.app.state.reload
    try:
        found = await reload(f"API key {request.state.key_name}")
    except StoreUnavailable:
        raise
    except LedgerError as error:
        raise Problem(409, str(error)) from error
    return as_json(
        ReloadBody(
            [ChangeBody(each.setting, each.kind) for each in found.taken],
            [RestartBody(each.setting, each.kind, WAY_OUT) for each in found.restart],
        )
    )
