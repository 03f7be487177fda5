"""What tests read back from pages and plots."""

from __future__ import annotations

import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "br", "wbr", "link", "img", "input", "hr"}
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&$a$ %{x} {{ ${title}"


class Page(HTMLParser):
    """The elements of a page: (tag, attributes), the text outside scripts, and whether the tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.data = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.data += data if self.elements[-1][1].get("id") == "report-data" else ""
        elif self.open and self.open[-1] != "style":
            self.text += data

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads(self.data)["figures"]

    def places(self) -> list[str]:
        return [attributes["data-figure"] for _, attributes in self.elements if "data-figure" in attributes]


def read_page(path: Path) -> Page:
    """The page, whose tags all nest."""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def check_loads_nothing(path: Path) -> None:
    """Nothing on the page points outside of it, and its policy forbids that too."""
    page = read_page(path)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "action", "poster", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    text = path.read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def read_png(path: Path) -> tuple[int, int, bytes]:
    """Width, height and the filtered scanlines of a PNG file, enough to count different values."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    body, place = b"", 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body += data[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += 12 + length
    return width, height, zlib.decompress(body)
