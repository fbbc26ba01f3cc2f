"""One file over HTTP, within bounds of size and time. Whatever a server does instead of sending it is one phrase.

Redirects are followed here, and only to other addresses of the web. What a server says of its file is believed where it
is a reason to stop, and checked where it is not.
"""

from __future__ import annotations

import queue
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from heavytail.lab.datasets.reading import Most, amount, brief

_PIECE = 2**16
_HOPS = 5  # redirects


class Failed(Exception):
    """What a server did instead of sending the file, as the part of a sentence."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and for how slow a server, in bytes a second."""

    stall: float = 30  # for the next bytes: without it a network that swallows packets stops us for good
    start: float = 60  # for a file, and longer by what its largest size takes at `speed`
    speed: float = 50_000

    def seconds(self, most: Most) -> float:
        """For a file of that size, whatever the server does."""
        return self.start + most.size / self.speed


def get(
    url: str, path: Path, most: Most, patience: Patience, begun: Callable[[int | None], Callable[[int], object]]
) -> None:
    """Download a file to `path`. Raises Failed, and OSError where `path` cannot be written.

    `begun` is called with the number of bytes that the server promises, if it does, and what it returns with the number
    of bytes in every piece. Looking up a name or a server that trickles can take longer than any time limit of a
    socket, so the work is done by a thread that is left behind when the time is over.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    given_up = threading.Event()

    def work() -> None:
        try:
            _get(url, path, most, patience, begun, given_up)
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=work, daemon=True).start()
    seconds = patience.seconds(most)
    try:
        error = ended.get(timeout=seconds)
    except queue.Empty:
        raise Failed(f"did not send the file within {seconds:.0f} s") from None
    finally:
        given_up.set()
    if error is not None:
        raise error


def _get(
    url: str,
    path: Path,
    most: Most,
    patience: Patience,
    begun: Callable[[int | None], Callable[[int], object]],
    given_up: threading.Event,
) -> None:
    with _asked(url, patience, given_up) as response:
        length = response.length  # None where the server says none, or nonsense
        if length is not None and length > most.size:
            raise Failed(f"offers {amount(length)}, more than {most}")
        if given_up.is_set():
            return
        seen, size = begun(length), 0
        with open(path, "wb") as file:
            while piece := _piece(response, patience):
                if given_up.is_set():
                    return
                size += len(piece)
                if size > most.size:
                    raise Failed(f"sends more than {most}")
                file.write(piece)
                seen(len(piece))
    if length is not None and size < length:
        raise Failed(f"ended after {size} of {length} bytes")


def _asked(url: str, patience: Patience, given_up: threading.Event) -> HTTPResponse:
    """The answer of the server that has the file."""
    opener = _opener()
    for _ in range(_HOPS + 1):
        request = urllib.request.Request(url, headers={"User-Agent": "heavytail", "Accept-Encoding": "identity"})
        try:
            return opener.open(request, timeout=patience.stall)
        except urllib.error.HTTPError as error:
            with error:
                onwards = error.headers.get("Location") if 300 <= error.code < 400 else None
                if onwards is None:
                    raise Failed(f"answered with status {error.code}") from None
                url = _onwards(url, onwards)
        except Exception as error:
            raise _failed("could not be reached", error, patience) from error
        if given_up.is_set():
            break
    raise Failed(f"sent us on more than {_HOPS} times")


def _onwards(url: str, location: str) -> str:
    """Where a redirect leads. No file or other service of this machine is opened for a server."""
    try:
        onwards = urljoin(url, location)
        scheme, host = urlsplit(onwards)[:2]
    except ValueError as error:
        raise Failed("sent us on to no address") from error
    if scheme not in ("http", "https") or not host:
        raise Failed(f"sent us on to an address of {scheme[:20]!a}, not of the web")
    return onwards


def _piece(response: HTTPResponse, patience: Patience) -> bytes:
    try:
        return response.read1(_PIECE)
    except Exception as error:
        raise _failed("broke off", error, patience) from error


def _failed(what: str, error: Exception, patience: Patience) -> Failed:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return Failed(f"did not answer for {patience.stall:g} s")
    if isinstance(cause, HTTPException):
        return Failed(f"did not answer as a server of the web does ({type(cause).__name__})")
    if isinstance(cause, OSError):  # those of certificates too
        return Failed(f"{what} ({brief(cause)})")
    return Failed(f"{what} ({type(cause).__name__})")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to us: Python's own handler reads their bodies, however long."""

    def http_error_302(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> None:
        """No answer: an HTTPError is raised."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """Trusts the authorities of this system, and those that certifi lists, for not every Python finds the first."""
    import certifi

    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())
    return urllib.request.build_opener(_Stay, urllib.request.HTTPSHandler(context=trusted))
