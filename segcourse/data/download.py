"""Fetch a file that others host, and unpack it: whole and checked, or not at all.

url ──→ name.part ──→ SHA-256 as stated? ──→ name        renamed in one step
         │    ↑                └ no: deleted, ``name`` stays as it was
         └────┘ a broken download goes on here, also after the process was killed

archive ──→ a folder beside ──→ folder                    nothing outside of it is touched
"""

import hashlib
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import requests
from tqdm import tqdm

GIGABYTE = 10**9
CHUNK = 1 << 14  # bytes; what a broken connection may lose
TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next bytes
PAUSE = 1.0  # seconds before a broken connection is taken up again


def fetch(
    url: str,
    *,
    sha256: str,
    to: str | Path,
    size_limit: int = 20 * GIGABYTE,
    attempts: int = 3,
    progress: bool = True,
) -> Path:
    """Download ``url`` to the file ``to`` and return its path; nothing is done if it is there.

    Args:
        url: http or https.
        sha256: what the file must hash to, 64 hexadecimal digits.
        to: the file to write. Its folder is made.
        size_limit: the most bytes to accept.
        attempts: how often a broken connection is taken up again.
        progress: show a bar.

    Raises:
        ValueError: if an argument is malformed, or what comes has another hash or is too large.
        ConnectionError: if the server cannot be reached, refuses, or breaks off every time.
            What has come is kept: the same call goes on from there.
    """
    to = Path(to)
    check_request(url, sha256, to, size_limit, attempts)
    if to.is_file() and hash_of(to) == sha256.lower():
        return to
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(to.name + ".part")
    resumed = part.exists()
    receive(url, part, size_limit=size_limit, attempts=attempts, progress=progress)
    if resumed and hash_of(part) != sha256.lower():  # its beginning was of another file
        part.unlink()
        receive(url, part, size_limit=size_limit, attempts=attempts, progress=progress)
    found = hash_of(part)
    if found != sha256.lower():
        size = part.stat().st_size
        part.unlink()
        raise ValueError(
            f"{url} gave {size:,} bytes with the SHA-256 {found}, but {sha256.lower()} was "
            "expected: the file has changed or was tampered with. Nothing was replaced; look for "
            "the publisher's current checksum."
        )
    os.replace(part, to)
    return to


def check_request(url: str, sha256: str, to: Path, size_limit: int, attempts: int) -> None:
    """Refuse what cannot be fetched before anything is sent."""
    if not re.match(r"https?://[^/]", url):
        raise ValueError(f"url={url!r} is no web address: it must begin with https:// or http://.")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"sha256={sha256!r} is no SHA-256: give the 64 hexadecimal digits that sha256sum "
            "prints for a file you trust."
        )
    if size_limit < 1 or attempts < 1:
        raise ValueError(
            f"size_limit={size_limit} and attempts={attempts} allow nothing: both must be at "
            "least 1 (bytes, tries)."
        )
    if to.is_dir():
        raise ValueError(f"to={str(to)!r} is a folder: name the file to write inside of it.")


def receive(url: str, part: Path, *, size_limit: int, attempts: int, progress: bool) -> None:
    """Bring ``part`` to its full length, from wherever it stands."""
    for attempt in range(1, attempts + 1):
        try:
            return transfer(url, part, size_limit, progress)
        except requests.RequestException as error:
            have = part.stat().st_size if part.exists() else 0
            if attempt == attempts:
                raise ConnectionError(
                    f"{url} could not be fetched in {attempts} attempts "
                    f"({type(error).__name__}); {have:,} bytes are kept: check the connection and "
                    "repeat the call to go on from there."
                ) from error
            time.sleep(PAUSE * attempt)


def transfer(url: str, part: Path, size_limit: int, progress: bool) -> None:
    """One connection: ask for what is missing and append it."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # bytes as stored: places in them mean something
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing is missing
            return
        check_answer(url, answer)
        begins = re.match(rf"bytes {have}-", answer.headers.get("Content-Range", ""))
        if answer.status_code != 206 or not begins:  # the server sends all of it
            have = 0
        announced = int(answer.headers.get("Content-Length", 0))
        check_size(url, have + announced, size_limit)
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(
                total=have + announced or None,
                initial=have,
                unit="B",
                unit_scale=True,
                desc=part.stem,
                disable=not progress,
            ) as bar,
        ):
            for chunk in answer.iter_content(CHUNK):
                try:
                    check_size(url, file.tell() + len(chunk), size_limit)
                except ValueError:
                    part.unlink()
                    raise
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
            if file.tell() < have + announced:
                raise requests.ConnectionError(
                    f"only {file.tell()} of {have + announced} bytes came"
                )


def check_answer(url: str, answer: requests.Response) -> None:
    """Stop at an answer that carries no file; a server in trouble may be asked again."""
    if answer.status_code >= 500:
        raise requests.HTTPError(f"status {answer.status_code}")
    if not answer.ok:
        raise ConnectionError(
            f"{url} answers {answer.status_code} {answer.reason}: the file has moved or needs a "
            "login; look for its new address on the data set's page."
        )


def check_size(url: str, size: int, size_limit: int) -> None:
    """Stop before more is stored than was allowed."""
    if size > size_limit:
        raise ValueError(
            f"{url} is larger than the {size_limit:,} bytes allowed (at least {size:,}): raise "
            "size_limit if you expect so much."
        )


def hash_of(path: str | Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------ archives


DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
)


class Member(NamedTuple):
    """One entry of an archive, whatever its kind."""

    name: str
    size: int
    kind: str  # "file", "folder", or what is refused: "link", "device"
    entry: zipfile.ZipInfo | tarfile.TarInfo


def unpack(
    archive: str | Path,
    to: str | Path,
    *,
    size_limit: int = 50 * GIGABYTE,
    most_members: int = 1_000_000,
    replace: bool = False,
) -> Path:
    """Unpack a zip or tar file (.gz, .bz2, .xz too) as the folder ``to`` and return its path.

    Every name is checked before the first byte is written; the files grow in a temporary folder
    beside ``to``, which is then renamed.

    Args:
        archive: the file to unpack.
        to: the folder to make. It must not exist, or be empty, unless ``replace``.
        size_limit: the most bytes that all files may have together.
        most_members: the most files and folders.
        replace: put the new folder in the place of an old one, which is deleted.

    Raises:
        FileNotFoundError, FileExistsError: if the archive is missing, or ``to`` holds something.
        ValueError: if it is no archive, damaged, too large, or names a place outside of ``to``,
            a link or a device.
    """
    archive, to = Path(archive), Path(to)
    if not archive.is_file():
        raise FileNotFoundError(f"there is no archive {archive}: fetch it first.")
    if not replace and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise FileExistsError(
            f"{to} exists and is not empty: choose another folder, or pass replace=True to delete "
            "what it holds."
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}."))
    try:
        with opened(archive) as source:
            inside = check_members(archive, source, size_limit, most_members)
            for member, place in inside:
                write_member(source, member, draft / place)
        draft.chmod(0o755)  # made for its owner only
        put_in_place(draft, to)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk is full, or may not be written to
        raise ValueError(
            f"{archive} cannot be unpacked ({type(error).__name__}: {error}): it is damaged or "
            "encrypted; fetch it again."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return to


def opened(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    """The archive, open for reading."""
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    try:
        return tarfile.open(archive)
    except tarfile.ReadError as error:
        raise ValueError(
            f"{archive} is no zip or tar file: perhaps a web page was saved in its place; fetch "
            "it again."
        ) from error


def members(source: zipfile.ZipFile | tarfile.TarFile) -> Iterator[Member]:
    """Everything that an archive lists."""
    if isinstance(source, zipfile.ZipFile):
        for entry in source.infolist():
            mode = entry.external_attr >> 16
            odd = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
            kind = "link" if odd else "folder" if entry.is_dir() else "file"
            yield Member(entry.filename, entry.file_size, kind, entry)
    else:
        for entry in source:
            link = entry.issym() or entry.islnk()
            kind = "file" if entry.isreg() else "folder" if entry.isdir() else "device"
            yield Member(entry.name, entry.size, "link" if link else kind, entry)


def check_members(
    archive: Path, source: zipfile.ZipFile | tarfile.TarFile, size_limit: int, most_members: int
) -> list[tuple[Member, PurePosixPath]]:
    """Refuse an archive that reaches out, links, or is too large; where each member goes."""
    inside, total = [], 0
    for member in members(source):
        total += member.size
        if len(inside) >= most_members or total > size_limit:
            raise ValueError(
                f"{archive} holds more than {most_members:,} entries or {size_limit:,} bytes: "
                "raise most_members or size_limit if you expect so much."
            )
        if member.kind not in ("file", "folder"):
            raise ValueError(
                f"{archive} holds the {member.kind} {member.name!r}: only plain files and folders "
                "are unpacked. Do not trust this archive."
            )
        inside.append((member, place_of(archive, member.name)))
    return inside


def place_of(archive: Path, name: str) -> PurePosixPath:
    """Where a member goes, relative to the new folder; names that lead out are refused."""
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in name or "\0" in name:
        raise ValueError(
            f"{archive} wants to write to {name!r}, outside of the folder it is unpacked to: do "
            "not trust this archive."
        )
    return place


def write_member(source: zipfile.ZipFile | tarfile.TarFile, member: Member, path: Path) -> None:
    """Write one file of exactly the size that was announced, or make one folder."""
    if member.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    zipped = isinstance(source, zipfile.ZipFile)
    content: IO[bytes] = source.open(member.entry) if zipped else source.extractfile(member.entry)
    written = 0
    with content, path.open("wb") as file:
        while chunk := content.read(CHUNK):
            written += len(chunk)
            if written > member.size:
                break
            file.write(chunk)
    if written != member.size:
        raise EOFError(f"{member.name} should have {member.size:,} bytes, but has {written:,}")


def put_in_place(draft: Path, to: Path) -> None:
    """Rename the finished folder; an old one goes only when the new one stands."""
    old = draft.with_name(draft.name + ".old")
    if to.exists():
        os.replace(to, old)
    try:
        os.replace(draft, to)
    except OSError:
        if old.exists():
            os.replace(old, to)
        raise
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)
