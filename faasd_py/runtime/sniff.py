"""Pure. What kind of thing a body is, when nobody says: a small part of the WHATWG sniffing that Go's watchdog does."""

from __future__ import annotations

import re
from typing import Final

TEXT: Final = b"text/plain; charset=utf-8"
BINARY: Final = b"application/octet-stream"
_MAGIC: Final = (
    (b"%PDF-", b"application/pdf"),
    (b"\x89PNG\r\n\x1a\n", b"image/png"),
    (b"\xff\xd8\xff", b"image/jpeg"),
    (b"GIF87a", b"image/gif"),
    (b"GIF89a", b"image/gif"),
    (b"\x1f\x8b\x08", b"application/x-gzip"),
    (b"PK\x03\x04", b"application/zip"),
    (b"\x00asm", b"application/wasm"),
    (b"OggS\x00", b"application/ogg"),
)
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<table", b"<div", b"<h1")
_BINARY_BYTES: Final = bytes(b for b in range(32) if b not in b"\t\n\x0c\r\x1b")
_DECLARED: Final = re.compile(rb"^content-type:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def declared(headers: bytes) -> bytes:
    """The Content-Type of a header block, empty if it has none."""
    match = _DECLARED.search(headers)
    return match[1].rstrip(b" \t") if match else b""


def content_type(start: bytes) -> bytes:
    """The type of a body that begins so; 512 bytes are looked at."""
    start = start[:512]
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if start.startswith(b"RIFF") and start[8:14] == b"WEBPVP":
        return b"image/webp"
    words = start.lstrip(b"\t\n\x0c\r ")
    if words[:1] == b"<":
        return _markup(words.lower())
    return BINARY if len(start.translate(None, _BINARY_BYTES)) < len(start) else TEXT


def _markup(words: bytes) -> bytes:
    if words.startswith(b"<!--"):
        return b"text/html; charset=utf-8"
    if words.startswith(b"<?xml"):
        return b"text/xml; charset=utf-8"
    for tag in _HTML:
        if words.startswith(tag) and words[len(tag) : len(tag) + 1] in (b" ", b">"):
            return b"text/html; charset=utf-8"
    return TEXT
