"""Fetch a file that others host, and unpack it: whole and checked, or not at all.

url ──→ a file beside ──→ SHA-256 as stated? ──→ name     renamed in one step, by pooch
                              └ no: deleted, ``name`` stays as it was

archive ──→ a folder beside ──→ folder                    nothing outside of it is touched
"""

import lzma
import os
import re
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath

_RETRIES = 2  # after a connection that breaks; every one starts from the first byte
_TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next bytes
_PAUSE = 1.0  # seconds before a retry
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError,
)  # fmt: skip


def fetch(url: str, *, sha256: str, to: str | Path, progress: bool = True) -> Path:
    """Download ``url`` to the file ``to`` and return its path; nothing is done if it is there.

    Several processes may fetch one file at once: each writes a file of its own and renames it.

    Args:
        url: http or https.
        sha256: what the file must hash to, 64 hexadecimal digits.
        to: the file to write. Its folder is made.
        progress: show a bar.

    Raises:
        ValueError: if an argument is malformed, or what comes has another hash.
        ConnectionError: if the server cannot be reached, refuses, or breaks off every time.
    """
    to = Path(to)
    if not re.match(r"https?://[^/]", url):
        raise ValueError(f"url={url!r} is no web address: it must begin with https:// or http://.")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"sha256={sha256!r} is no SHA-256: give the 64 hexadecimal digits that sha256sum "
            "prints for a file you trust."
        )
    if to.is_dir():
        raise ValueError(f"to={str(to)!r} is a folder: name the file to write inside of it.")
    import pooch  # only those who download need it
    import requests

    known_hash = f"sha256:{sha256.lower()}"
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT)
    for retries_left in reversed(range(_RETRIES + 1)):
        try:
            pooch.retrieve(url, known_hash, fname=to.name, path=to.parent, downloader=downloader)
        except requests.RequestException as error:
            answer = getattr(error, "response", None)
            refused = answer is not None and answer.status_code < 500
            if retries_left and not refused:
                time.sleep(_PAUSE)
                continue
            reason = f"status {answer.status_code}" if answer is not None else type(error).__name__
            raise ConnectionError(
                f"{url} could not be fetched ({reason}): check the connection and repeat the call, "
                "or look for the file's new address on the data set's page."
            ) from error
        except ValueError as error:
            raise ValueError(
                f"{url} did not give a file with the SHA-256 {sha256.lower()}: it has changed or "
                "was tampered with. Nothing was replaced; look for the publisher's current "
                "checksum."
            ) from error
        else:
            break
    return to


def unpack(archive: str | Path, to: str | Path, *, max_bytes: int = 50 * 10**9) -> Path:
    """Unpack a zip or tar file (.gz, .bz2, .xz too) as the new folder ``to`` and return its path.

    Every name is checked before the first byte is written. The files grow in a temporary folder
    beside ``to``, which is then renamed.

    Args:
        archive: the file to unpack.
        to: the folder to make. It must not exist, or be empty.
        max_bytes: the most that all files may have together.

    Raises:
        FileNotFoundError, FileExistsError: if the archive is missing, or ``to`` holds something.
        ValueError: if it is no archive, damaged, too large, or holds a link, a device or a name
            that leads out of ``to``.
    """
    archive, to = Path(archive), Path(to)
    if not archive.is_file():
        raise FileNotFoundError(f"there is no file {archive} to unpack: fetch it first.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise FileExistsError(f"{to} exists and is not empty: choose another folder or delete it.")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as beside:
        draft = Path(beside, "draft")
        draft.mkdir()
        try:
            _extract(archive, draft, max_bytes)
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk is full, or may not be written to
            raise ValueError(
                f"{archive} cannot be unpacked ({type(error).__name__}: {error}): it is no zip or "
                "tar file, damaged, encrypted, or not to be trusted; fetch it again."
            ) from error
        if to.exists():
            to.rmdir()  # it is empty; Windows renames to new names only
        os.replace(draft, to)
    return to


def _extract(archive: Path, folder: Path, max_bytes: int) -> None:
    """Write the files of an archive below a folder, after a look at all that it lists."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as source:
            for each in source.infolist():
                _check_name(archive, each.filename, stat.S_ISLNK(each.external_attr >> 16))
            _check_size(archive, sum(each.file_size for each in source.infolist()), max_bytes)
            source.extractall(folder)
    else:
        with tarfile.open(archive) as source:
            for each in source.getmembers():
                _check_name(archive, each.name, not (each.isreg() or each.isdir()))
            _check_size(archive, sum(each.size for each in source.getmembers()), max_bytes)
            source.extractall(folder, filter="data")


def _check_name(archive: Path, name: str, special: bool) -> None:
    """Refuse links and devices, and names that lead out, which zipfile renames without a word."""
    path = PurePosixPath(name.replace("\\", "/"))
    if special or path.is_absolute() or ".." in path.parts or ":" in name:
        raise ValueError(
            f"{archive} holds {name!r}, a link, a device, or a place outside of the folder that it "
            "is unpacked to: do not trust this archive."
        )


def _check_size(archive: Path, total: int, max_bytes: int) -> None:
    """Refuse an archive whose files would fill the disk."""
    if total > max_bytes:
        raise ValueError(
            f"{archive} holds {total:,} bytes, more than the {max_bytes:,} allowed: raise "
            "max_bytes if you expect so much."
        )
