"""The browser's client as it is served: one module, without dependencies, that exports what its types say."""

import re

from starlette.datastructures import Headers

from ledger.front.client_files import FOLDER, MODULES, ClientFiles, module


def test_all_modules_are_one() -> None:
    text = module()
    assert {path.name for path in FOLDER.glob("*.js")} == set(MODULES)
    assert not re.search(r"^import ", text, re.MULTILINE)
    exported = re.findall(r"^export (?:class (\w+)|\{ (\w+) \})", text, re.MULTILINE)
    types = (FOLDER / "presence-ledger.d.ts").read_text(encoding="utf-8")
    assert {one or other for one, other in exported} == set(re.findall(r"^export class (\w+)", types, re.MULTILINE))


def test_no_name_stands_for_two_things() -> None:
    names = re.findall(r"^(?:export )?(?:async )?(?:const|let|class|function) (\w+)", module(), re.MULTILINE)
    assert len(names) == len(set(names))


def test_a_tag_is_of_what_is_sent() -> None:
    files = ClientFiles()

    def tag(**headers: str) -> tuple[int, str]:
        answer = files.answer(
            "GET", "/client/presence-ledger.js", Headers({k.replace("_", "-"): v for k, v in headers.items()})
        )
        return answer.status_code, answer.headers["etag"]

    _, plain = tag()
    _, zipped = tag(accept_encoding="gzip, br")
    assert plain != zipped
    assert tag(accept_encoding="gzip", if_none_match=f'"x", {zipped}') == (304, zipped)
    assert tag(accept_encoding="gzip", if_none_match=plain)[0] == 200
