"""One file from its address or a mirror to its place: resumed, verified, renamed.

pooch (1.8) verifies and renames too, but each attempt begins a new temporary file: nothing is resumed, two processes
fetch twice, what cannot pass (404) is tried again, and there is no file:// mirror.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from modnas_fast import __version__
from modnas_fast.datasets.part import Part, claim
from modnas_fast.datasets.registry import DataFile
from modnas_fast.runtime.errors import InputError

ATTEMPTS = 4
#: seconds before the second attempt; each further pause is twice as long
PAUSE = 0.5
#: seconds without a byte after which an attempt has failed
TIMEOUT = 30.0
BLOCK = 1 << 16
#: HTTP answers that a later attempt may change, besides those of 500 and above
TRANSIENT = (408, 425, 429)


class _Transient(Exception):
    """A failure that another attempt may not meet."""


def download(
    file: DataFile,
    folder: Path,
    *,
    mirror: str | None = None,
    advance: Callable[[int], None] = lambda done: None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Brings `file` to its path below `folder`, unless exactly the published file is there already.

    Continues where a former attempt stopped, retries what may pass, and waits for another process that downloads the
    same file. `advance` gets the bytes so far. Nothing takes the file's place whose checksum is not the published one.
    Raises InputError where the network, the server, the content or the disk stands in the way.
    """
    if file.fault(folder) is None:
        return
    url = address(file, mirror)
    with claim(file, folder, say) as part:
        if file.fault(folder) is None:  # another process has brought it meanwhile
            part.remove()
            return
        try:
            _obtain(part, url, file, advance)
        except _Transient as error:
            raise InputError(
                f"{url}: {error}; try again later, which continues, or use --mirror URL, or copy the file to "
                f"{folder / file.path}"
            ) from None
        part.install()


def address(file: DataFile, mirror: str | None = None) -> str:
    """The URL of a file: the published one, or the same path below `mirror`, a URL or a folder.

    >>> file = DataFile("nb201/a.csv", "https://example.org/a.csv", 1, "")
    >>> address(file, "http://localhost:8000/data/")
    'http://localhost:8000/data/nb201/a.csv'
    >>> address(file, "/srv/data")
    'file:///srv/data/nb201/a.csv'
    """
    if mirror is None:
        return file.url
    if "://" not in mirror:
        return (Path(mirror).absolute() / file.path).as_uri()
    try:
        known = urlsplit(mirror).scheme in ("http", "https", "file")
    except ValueError:
        known = False
    if not known:
        raise InputError(f"--mirror: wanted http://, https:// or file://, or a folder, got {mirror!r}")
    return f"{mirror.rstrip('/')}/{quote(file.path)}"


def _obtain(part: Part, url: str, file: DataFile, advance: Callable[[int], None]) -> None:
    """Fills the part with the published content; removes it where the server has another."""
    resumed = part.size > 0
    if part.size > file.size:
        part.restart()
    for attempt in range(ATTEMPTS):
        try:
            _transfer(part, url, file, advance)
            break
        except _Transient:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE * 2**attempt)
    if part.is_published():
        return
    part.restart()
    if resumed:  # perhaps only its beginning was wrong
        return _obtain(part, url, file, advance)
    _refuse(part, url, f"the {file.checksum} differs")


def _refuse(part: Part, url: str, fault: str) -> None:
    part.remove()
    raise InputError(
        f"{url}: this is not the published file ({fault}); nothing was kept. Try again, or use --mirror URL"
    )


def _transfer(part: Part, url: str, file: DataFile, advance: Callable[[int], None]) -> None:
    """One attempt to append what the part lacks."""
    if part.size == file.size:
        return
    headers = {"User-Agent": f"modnas-fast/{__version__}"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
    with _open(Request(url, headers=headers), part) as response:
        if response.status != 206:  # all of it, whatever was asked for
            part.restart()
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
            part.restart()
            raise _Transient("the server sent another range than it was asked for")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and part.size + int(length) != file.size:
            _refuse(part, url, f"{part.size + int(length):,} bytes instead of {file.size:,}")
        while block := _read(response):
            if part.size + len(block) > file.size:
                _refuse(part, url, f"more than {file.size:,} bytes")
            part.append(block)
            advance(part.size)
    if part.size < file.size:
        raise _Transient(f"the transfer ended after {part.size:,} of {file.size:,} bytes")


def _open(request: Request, part: Part) -> HTTPResponse:
    """The answer to a request, redirects followed."""
    url = request.full_url
    try:
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the server cannot continue there
            part.restart()
        answer = f"HTTP {error.code} {_text(error.reason)}"
        if error.code in (416, *TRANSIENT) or error.code >= 500:
            raise _Transient(answer) from None
        raise InputError(f"{url}: {answer}; use --mirror URL, or copy the file yourself") from None
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, (FileNotFoundError, ssl.SSLCertVerificationError)):
            raise InputError(f"{url}: {_text(reason)}; use another --mirror URL") from None
        raise _Transient(f"no answer ({_text(reason)})") from None


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(BLOCK)  # what has come, so that a stall loses none of it
    except (OSError, HTTPException) as error:
        raise _Transient(f"the transfer broke off ({_text(error)})") from None


def _text(reason: object) -> str:
    """An error in words, on one line."""
    words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(words).split())
