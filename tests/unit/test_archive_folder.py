"""Where the archive's files are, as settings say it: a folder or a bucket."""

from pathlib import Path

import pytest

from ledger import archive_folder
from ledger.archive_folder import Bucket

NEAR = "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("/srv/archive", Path("/srv/archive")),
        ("s3://ledger", Bucket("ledger")),
        ("s3://ledger/a%20b/c/?region=eu-central-1", Bucket("ledger", "a b/c", "", "eu-central-1")),
        (f"s3://my.ledger/c?endpoint={NEAR}/", Bucket("my.ledger", "c", NEAR)),
    ],
)
def test_what_is_written_is_read_again(text: str, folder: archive_folder.Folder) -> None:
    assert archive_folder.read(text) == folder
    assert archive_folder.read(str(folder)) == folder


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("gs://ledger", "must be the path of a folder, or s3://BUCKET/PREFIX"),
        ("s3:///ledger", "must be the path of a folder, or s3://BUCKET/PREFIX"),
        ("s3://ledger#x", "must be the path of a folder, or s3://BUCKET/PREFIX"),
        ("s3://key:secret@ledger", "must not hold a key: set AWS_ACCESS_KEY_ID"),
        ("s3://ledger?secret=x", "has 'secret' after the '[?]'"),
        ("s3://ledger?endpoint=storage:9000", "has an endpoint that is not a URL like https://"),
        (f"s3://ledger?endpoint={NEAR}/path", "has an endpoint that is not a URL"),
        ("s3://ledger?region=%20", "has a region that is not a name"),
    ],
)
def test_what_is_wrong_is_said(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}"):
        archive_folder.read(text)
