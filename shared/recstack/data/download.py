"""Download of MovieLens-1M from GroupLens: verified, and complete or not there at all."""

import hashlib
import http.client
import shutil
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from recstack.data.movielens import FILES
from recstack.errors import DataError, UnavailableError


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file to download, its md5, and the folder in it that holds the data files."""

    url: str
    md5: str
    folder: str


ML_1M = Archive("https://files.grouplens.org/datasets/movielens/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906", "ml-1m")


def download(archive: Archive, target: Path, timeout_s: float = 10.0) -> None:
    """Put the archive's data files into the folder `target`.

    The folder appears by one rename once everything in it is verified, so an interrupted download leaves no half
    data set. `timeout_s` bounds the connection and each wait for more bytes. Raises UnavailableError where the
    address cannot be reached and DataError where what it sends is not the expected archive.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        zip_path = Path(scratch) / "archive.zip"
        _fetch(archive.url, zip_path, timeout_s)
        with zip_path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 != archive.md5:
            raise DataError(
                f"{archive.url} sent {zip_path.stat().st_size:,} bytes with md5 {md5}, expected {archive.md5}. "
                "Something on the way changed it; try again from another network."
            )
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        _unpack(archive, zip_path, unpacked)
        try:
            unpacked.rename(target)
        except OSError as error:
            # Another process may have finished the same download meanwhile; its verified files are as good.
            if not target.is_dir():
                raise DataError(f"cannot create {target}: {error.strerror}. Check the folder's permissions.") from error


def _fetch(url: str, path: Path, timeout_s: float) -> None:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file)
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"cannot download {url}: {getattr(error, 'reason', error)}. Check the network and the free disk space."
        ) from error


def _unpack(archive: Archive, zip_path: Path, folder: Path) -> None:
    """Only the named files leave the archive, under names of our choosing."""
    with zipfile.ZipFile(zip_path) as members:
        for name in FILES:
            with members.open(f"{archive.folder}/{name}") as source, (folder / name).open("wb") as file:
                shutil.copyfileobj(source, file)
