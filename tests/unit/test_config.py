"""Settings: what is wrong is said in one error, and passwords are not shown."""

from pathlib import Path

import pytest

from recstack.config import Settings, load_settings
from recstack.errors import StackError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_anew() -> Settings:
    load_settings.cache_clear()
    try:
        return load_settings()
    finally:
        load_settings.cache_clear()


def test_every_bad_value_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "recstack.toml").write_text("[gateway]\nmax_k = 0\nmaxk = 3\n")
    monkeypatch.setenv("RECSTACK_LOG_FORMAT", "xml")
    with pytest.raises(StackError) as raised:
        read_anew()
    lines = str(raised.value).splitlines()
    assert lines[0] == "bad settings in recstack.toml or the environment"
    named = {line.split(":")[0].strip() for line in lines[1:]}
    assert named == {"gateway.max_k", "gateway.maxk", "log_format"}


def test_a_broken_file_is_named(folder: Path) -> None:
    (folder / "recstack.toml").write_text("gateway = [")
    with pytest.raises(StackError, match=r"recstack\.toml is not TOML"):
        read_anew()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://127.0.0.1:6390/0", "redis://127.0.0.1:6390/0"),
        ("rediss://me:secret@host:1/0?ssl_ca_certs=ca", "rediss://host:1/0"),
        ("redis+sentinel://:secret@a:1,b:2/shop/0", "redis+sentinel://a:1,b:2/shop/0"),
    ],
)
def test_the_name_of_a_redis_has_no_password(url: str, name: str) -> None:
    assert Settings(redis_url=url).redis_name == name
