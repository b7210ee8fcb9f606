"""Watch lists over HTTP: made, changed, asked about and counted; who may, and what cannot be done."""

import gzip
import json
from typing import Any

import pytest

from tests.support.service import KEYS, Api, Service, segment


def put(api: Api, name: str, uids: list[str], watchers: list[str] | None = None) -> int:
    body = {"uids": uids} | ({} if watchers is None else {"watchers": watchers})
    return api.http.put(f"/v1/lists/{segment(name)}", json=body).status_code


def shown(api: Api, name: str) -> tuple[list[str], list[str]]:
    """Who is on a list and who is told; its counts are held against them."""
    found = api.get(f"/v1/lists/{segment(name)}", limit=10_000)
    assert found["name"] == name
    assert found["counts"] == {"uids": len(found["uids"]), "watchers": len(found["watchers"])}
    return found["uids"], found["watchers"]


def refused(api: Api, method: str, path: str, body: Any) -> str:
    """The field at fault of a 422."""
    answer = api.http.request(method, path, content=body if isinstance(body, bytes) else json.dumps(body).encode())
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    field: str = answer.json()["errors"][0]["field"]
    return field


def test_a_list_is_made_replaced_changed_and_deleted(api: Api) -> None:
    assert put(api, "friends", ["b", "a", "用户", "a"], ["w"]) == 201
    assert shown(api, "friends") == (["a", "b", "用户"], ["w"])
    assert put(api, "friends", ["c", "a"]) == 200
    assert shown(api, "friends") == (["a", "c"], [])
    order = {"add": ["d", "a"], "remove": ["c", "nobody"], "add_watchers": ["v", "w"], "remove_watchers": ["x"]}
    patched = api.http.patch("/v1/lists/friends", json=order)
    assert (patched.status_code, patched.json()["counts"]) == (200, {"uids": 2, "watchers": 2})
    assert shown(api, "friends") == (["a", "d"], ["v", "w"])
    body = api.get("/v1/lists/friends")
    assert body["created_at"] < body["changed_at"]
    assert body["changed_by"] == "admin"
    assert api.http.delete("/v1/lists/friends").status_code == 204
    for method in ("GET", "DELETE"):
        assert api.http.request(method, "/v1/lists/friends").status_code == 404
    assert api.http.patch("/v1/lists/friends", json={"add": ["a"]}).status_code == 404


@pytest.mark.parametrize("name", ["a/b", "x/presence", "%", "100% sure", "用 户", "n" * 256, "?", "..", "a//"])
def test_a_name_may_be_any_text(api: Api, name: str) -> None:
    assert put(api, name, ["u1"]) == 201
    assert shown(api, name) == (["u1"], [])
    path = f"/v1/lists/{segment(name)}"
    assert [each["uid"] for each in api.get(f"{path}/presence")["items"]] == ["u1"]
    assert api.get(f"{path}/summary")["users"] == {"online": 0, "offline": 0, "unknown": 1}
    assert name in [each["name"] for each in api.pages("/v1/lists", limit=2)]
    assert api.http.delete(path).status_code == 204


def test_a_list_is_asked_about_and_counted(api: Api) -> None:
    api.deliver("asked-1-0-1-1-1-1", "asked-2-0-1-2-1-1", "asked-2-1-1-3-1-2", "asked-3-0-1-4-1-1", "asked-3-0-0-4-0-0")
    put(api, "asked", ["asked-1", "asked-2", "asked-3", "never"])
    path = "/v1/lists/asked/presence"
    found = list(api.pages(path, limit=3))
    assert [(each["uid"], each["status"]) for each in found] == [
        ("asked-1", "online"), ("asked-2", "online"), ("asked-3", "offline"), ("never", "unknown"),
    ]  # fmt: skip
    assert {name: value for name, value in found[0].items() if name != "as_of"} == {
        name: value for name, value in api.presence("asked-1").items() if name != "as_of"
    }
    summary = api.get("/v1/lists/asked/summary")
    assert summary["users"] == {"online": 2, "offline": 1, "unknown": 1}
    assert summary["devices_online"] == [
        {"source": "main", "device_flag": 0, "devices": 2}, {"source": "main", "device_flag": 1, "devices": 1},
    ]  # fmt: skip
    assert summary["as_of"].keys() == {"at", "position"}
    for route in ("", "/presence", "/summary"):
        assert api.http.get(f"/v1/lists/no-such-list{route}").status_code == 404


def test_a_large_list_is_read_in_pages(api: Api) -> None:
    uids = [f"large-{number:05}" for number in range(2_500)]
    assert api.http.put(
        "/v1/lists/large", content=gzip.compress(json.dumps({"uids": uids}).encode()),
        headers={"Content-Encoding": "gzip"},
    ).status_code == 201  # fmt: skip
    found: list[str] = []
    after: dict[str, str] = {}
    page: Any = None
    for _ in range(3):
        page = api.get("/v1/lists/large", limit=1_000, **after)
        assert page["counts"]["uids"] == 2_500
        found += page["uids"]
        after = {"after": page["next"]}
    assert (found, page["next"]) == (uids, None)


def test_what_cannot_be_done_names_the_field(api: Api) -> None:
    put(api, "small", ["a"])
    many = [f"u{number}" for number in range(100_001)]
    assert refused(api, "PUT", "/v1/lists/small", {"uids": many}) == "uids"
    assert refused(api, "PUT", "/v1/lists/small", {"uids": ["a"], "watchers": many[:10_001]}) == "watchers"
    assert refused(api, "PUT", "/v1/lists/small", {"uids": ["a", ""]}) == "uids.1"
    assert refused(api, "PUT", "/v1/lists/small", {"uids": ["a", 1]}) == "uids.1"
    assert refused(api, "PUT", "/v1/lists/small", {"uids": ["a"], "users": []}) == "users"
    assert refused(api, "PUT", "/v1/lists/small", {}) == "uids"
    assert refused(api, "PUT", "/v1/lists/small", b"no json") == "body"
    assert refused(api, "PUT", f"/v1/lists/{'n' * 257}", {"uids": []}) == "name"
    assert refused(api, "PUT", "/v1/lists/a%00b", {"uids": []}) == "name"
    assert refused(api, "PATCH", "/v1/lists/small", {"add": ["b"], "remove": ["b"]}) == "remove"
    assert refused(api, "PATCH", "/v1/lists/small", {"add_watchers": many[:10_001]}) == "add_watchers"
    assert refused(api, "PATCH", "/v1/lists/small?force=1", {}) == "force"
    assert shown(api, "small") == (["a"], [])


def test_a_list_that_would_be_too_large_stays_as_it_was(api: Api) -> None:
    put(api, "full", [f"u{number}" for number in range(100_000)], [f"w{number}" for number in range(10_000)])
    assert refused(api, "PATCH", "/v1/lists/full", {"add": ["one-more"]}) == "add"
    assert refused(api, "PATCH", "/v1/lists/full", {"add_watchers": ["one-more"]}) == "add_watchers"
    assert api.http.patch("/v1/lists/full", json={"add": ["one-more"], "remove": ["u1"]}).status_code == 200
    assert api.get("/v1/lists/full")["counts"] == {"uids": 100_000, "watchers": 10_000}


@pytest.mark.parametrize(
    ("scope", "reads", "changes"), [("read", 403, 403), ("watch", 200, 200), ("audit", 200, 403), (None, 401, 401)]
)
def test_who_may(service: Service, api: Api, scope: str | None, reads: int, changes: int) -> None:
    put(api, "guarded", ["a"])
    with Api(service, scope and KEYS[scope]) as other:
        for path in ("/v1/lists", "/v1/lists/guarded", "/v1/lists/guarded/presence", "/v1/lists/guarded/summary"):
            assert other.http.get(path).status_code == reads
        assert other.http.put("/v1/lists/guarded", json={"uids": ["a", "b"]}).status_code == changes
        assert other.http.patch("/v1/lists/guarded", json={"add": ["c"]}).status_code == changes
        assert other.http.delete("/v1/lists/guarded").status_code == (204 if changes == 200 else changes)


def test_the_commands_show_lists(service: Service, api: Api) -> None:
    put(api, "of the command", ["u1", "u2"], ["w"])
    listed = json.loads(service.command("lists", "--json").stdout)["items"]
    assert next(each for each in listed if each["name"] == "of the command")["counts"] == {"uids": 2, "watchers": 1}
    assert "of the command" in service.command("lists").stdout
    found = json.loads(service.command("lists", "show", "of the command", "--json").stdout)
    assert (found["uids"], found["watchers"]) == (["u1", "u2"], ["w"])
    assert "u2" in service.command("lists", "show", "of the command").stdout
    unknown = service.command("lists", "show", "no such")
    assert (unknown.returncode, "no such list" in unknown.stderr) == (1, True)
