"""The route of the settings in force, as `presence-ledger config` prints them: no secret among them."""

from fastapi import APIRouter, Depends, Request, Response

from ledger.http import responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.paging import refuse_parameters
from ledger.http.responses import answered
from ledger.http.setting_answers import SettingBody, SettingItems
from ledger.http.state import get_services
from ledger.settings.entries import entries

router = APIRouter(tags=["operations"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)


@router.get("/v1/settings", summary="The settings in force", responses=answered(SettingItems))
def list_settings(request: Request) -> Response:
    """Every setting of this instance, its value and where that came from; secrets are masked."""
    refuse_parameters(request)
    found = get_services(request).settings
    items = [SettingBody(each.key, each.value, str(each.origin)) for each in entries(found)]
    return as_json(SettingItems(None if found.file is None else str(found.file), items))
