import hashlib
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recstack.data import resolve_dataset, synthetic_world, write_movielens
from recstack.data.download import Archive
from recstack.data.movielens import FILES
from recstack.errors import DataError

WORLD = synthetic_world(users=20, items=50, events=400)


@dataclass
class Site:
    """A web site that answers every GET with `body`."""

    url: str
    body: bytes
    promised: int
    status: int = 200
    requests: list[str] = field(default_factory=list)

    def archive(self) -> Archive:
        return Archive(self.url, hashlib.md5(self.body).hexdigest(), "ml-1m")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "source"
    write_movielens(WORLD, source)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as members:
        for name in FILES:
            members.write(source / name, f"ml-1m/{name}")
        members.writestr("../escaped.txt", "never unpacked")
    body = packed.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append(self.path)
            self.send_response(site.status)
            self.send_header("Content-Length", str(site.promised))
            self.end_headers()
            self.wfile.write(site.body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(f"http://127.0.0.1:{server.server_port}/ml-1m.zip", body, len(body))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home below a current directory that has no shared copy next to it."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.chdir(checkout)
    return checkout / ".recstack"


@pytest.fixture
def lines() -> list[str]:
    return []


def test_a_download_is_verified_unpacked_and_used_again(home: Path, site: Site, lines: list[str]) -> None:
    first = resolve_dataset("auto", home=home, archive=site.archive(), log=lines.append)
    second = resolve_dataset("ml-1m", home=home, archive=site.archive(), log=lines.append)

    assert len(first.events) == len(second.events) == 400
    assert site.requests == ["/ml-1m.zip"]
    assert sorted(path.name for path in (home / "data" / "ml-1m").iterdir()) == sorted(FILES)
    assert [path.name for path in (home / "data").iterdir()] == ["ml-1m"]
    assert not list(home.parent.rglob("escaped.txt"))
    assert f"Downloading MovieLens-1M (6 MB) from {site.url}" in lines[0]
    assert "20 users, 50 movies, 400 ratings" in lines[1]


def altered(site: Site) -> None:
    site.body = site.body[:-1] + b"?"


def cut_short(site: Site) -> None:
    site.body = site.body[: len(site.body) // 2]


def gone(site: Site) -> None:
    site.status = 404


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(altered, "md5"), (cut_short, "md5"), (gone, "Not Found")],
    ids=["altered", "cut_short", "gone"],
)
def test_a_bad_download_leaves_nothing_and_is_explained(
    home: Path, site: Site, lines: list[str], spoil: Callable[[Site], None], reason: str
) -> None:
    archive = site.archive()
    spoil(site)

    with pytest.raises(DataError, match=reason):
        resolve_dataset("ml-1m", home=home, archive=archive, log=lines.append)
    assert list((home / "data").iterdir()) == []

    stand_in = resolve_dataset("auto", home=home, archive=archive, log=lines.append)
    assert stand_in.name == "synthetic"
    assert list((home / "data").iterdir()) == []


def unreachable() -> Archive:
    # Port 9 (discard) of the loopback interface: nobody listens there.
    return Archive("http://127.0.0.1:9/ml-1m.zip", "0" * 32, "ml-1m")


def test_auto_offline_says_that_the_world_is_invented_and_how_to_get_the_real_one(home: Path, lines: list[str]) -> None:
    data = resolve_dataset("auto", home=home, archive=unreachable(), log=lines.append)

    assert data.name == "synthetic"
    text = "\n".join(lines)
    assert "cannot download http://127.0.0.1:9/ml-1m.zip: " in text
    assert "Using an invented world instead. For the real data: Download https://files.grouplens.org" in text
    assert lines[-1].startswith("Data: an invented world")


@pytest.mark.parametrize("archive", [None, unreachable()])
def test_insisting_on_movielens_says_where_it_was_looked_for(home: Path, archive: Archive | None) -> None:
    with pytest.raises(DataError, match=r"\.\./shared/data/ml-1m nor in .*\.recstack/data/ml-1m: .*Download https"):
        resolve_dataset("ml-1m", home=home, archive=archive, log=lambda line: None)


def test_an_explicit_path_wins_over_every_other_place(home: Path, lines: list[str], tmp_path: Path) -> None:
    write_movielens(synthetic_world(users=10, items=50, events=200), tmp_path / "mine")
    write_movielens(WORLD, tmp_path / "shared" / "data" / "ml-1m")

    assert len(resolve_dataset("auto", tmp_path / "mine", home, None, lines.append).events) == 200
    assert len(resolve_dataset("auto", None, home, None, lines.append).events) == 400


@pytest.mark.parametrize("name", ["auto", "ml-1m"])
def test_an_explicit_path_without_data_is_an_error_and_never_replaced(home: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"nowhere/users\.dat: No such file"):
        resolve_dataset(name, tmp_path / "nowhere", home, None)


def test_broken_data_that_was_found_is_an_error_and_never_replaced(home: Path) -> None:
    cache = home / "data" / "ml-1m"
    write_movielens(WORLD, cache)
    (cache / "ratings.dat").write_text("1::1::five::0\n")

    with pytest.raises(DataError, match=r"ratings\.dat, line 1"):
        resolve_dataset("auto", home=home, archive=None)


def test_synthetic_touches_neither_disk_nor_network(home: Path, site: Site, lines: list[str]) -> None:
    assert resolve_dataset("synthetic", home=home, archive=site.archive(), log=lines.append).name == "synthetic"
    assert site.requests == []
    assert not home.exists()


@pytest.mark.parametrize(("name", "path"), [("netflix", None), ("synthetic", Path("somewhere"))])
def test_what_makes_no_sense_is_an_error(name: str, path: Path | None) -> None:
    with pytest.raises(DataError, match=name):
        resolve_dataset(name, path)
