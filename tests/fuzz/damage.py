"""Ways to break a file: blind ones, and ones that keep its outer form whole so that the inner layers are reached."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

INTEGERS = (0, 1, -1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
TOKENS = (
    *(b"[" * 10_000, b'{"a":' * 1000, b"1e999", b"NaN", b"-Infinity", b"9" * 5000, b'"\\ud800"', b"null"),
    *(b"&a [*a]", b"!!binary x", b"<<: {a: 1}", b"!!python/name:os.system"),
    *(b"\x1b[2J", b"\r\n", b"\0", b"\xff\xda", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
)
TAR_TYPES = (b"0", b"1", b"2", b"3", b"5", b"7", b"x", b"g", b"L", b"K", b"S", b"X", b"D", b"\0", b"Z")


def damage(content: bytes, random: Random) -> bytes:
    """One to eight blind changes: flips, cuts, splices, repeats, and integers of every width in both orders."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.choice((1, 4, 30, 1000)))
        kind = random.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            other = random.randrange(len(data) + 1)
            data[other:other] = data[at:end] * random.choice((1, 2, 50))
        elif kind == 4:
            data[at:at] = random.choice(TOKENS)
        elif kind == 5:
            data[at:at] = str(random.choice(INTEGERS)).encode()
        else:
            width = random.choice((1, 2, 4, 8))
            value = random.choice(INTEGERS) % (1 << 8 * width)
            data[at : at + width] = value.to_bytes(width, random.choice(("little", "big")))
    return bytes(data)


PLAIN = (
    *(None, True, False, *INTEGERS, *(-n for n in INTEGERS), 10**25, 10**400),
    *(0.0, -0.0, 0.5, 1.5, 28.0, 1e-320, 1e308, float("nan"), float("inf")),
    *("", "x", "1", "\x1b[2J", "\ud800", "é" * 300, "../x", "/dev/zero", "\0", "A" * 10_000),
)
NESTED: list[Any] = [0]
for _ in range(600):
    NESTED.append([NESTED[-1]])


def anything(random: Random, depth: int = 2) -> Any:
    """A JSON value that nobody asked for."""
    kind = random.randrange(8 if depth else 5)
    if kind == 5:
        return [anything(random, depth - 1) for _ in range(random.choice((0, 1, 3, 40)))]
    if kind == 6:
        return {random.choice(("", "a", "seed", "path", "é")): anything(random, depth - 1) for _ in range(2)}
    return NESTED[random.choice((8, 100, 199, 600))] if kind == 7 else random.choice(PLAIN)


def replaced(value: Any, random: Random) -> Any:
    """A copy of a JSON value in which one part, at whatever depth, is another, is gone, or comes again."""
    if not isinstance(value, dict | list) or not value or random.randrange(5) == 0:
        return anything(random)
    copy: Any = value.copy()
    place = random.choice(sorted(copy)) if isinstance(copy, dict) else random.randrange(len(copy))
    change = random.randrange(8)
    if change == 0:
        del copy[place]
    elif change == 1 and isinstance(copy, list):
        copy *= random.choice((2, 100))
    elif change == 1:
        copy[random.choice(("", "x", "é", "\x07", "name"))] = copy[place]
    else:
        copy[place] = replaced(copy[place], random)
    return copy


# Changes below the surface. Each takes a valid file of its form.


def in_json(content: bytes, random: Random) -> bytes:
    return json.dumps(replaced(json.loads(content), random)).encode()


def in_png(content: bytes, random: Random) -> bytes:
    """Change a chunk and write it with its right length and checksum."""
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    place = random.randrange(len(chunks))
    kind, data = chunks[place]
    change = random.randrange(4)
    if change == 0:
        bomb = zlib.compress(bytes(random.choice((100, 10**6, 10**7))))
        texts = ((b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb))
        kind, data = random.choice((*texts, (b"eXIf", bomb), (b"IDAT", bomb)))
        chunks.insert(max(1, place), (kind, data))
    elif change == 1 and kind == b"IDAT":
        chunks[place] = kind, zlib.compress(damage(zlib.decompress(data), random))
    else:
        chunks[place] = kind, damage(data, random)
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(packed)


def in_tar(content: bytes, random: Random) -> bytes:
    """Change a header and make its checksum right again."""
    data = bytearray(content)
    headers = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    at = random.choice(headers)
    field, width = random.choice(((0, 100), (100, 8), (124, 12), (124, 12), (156, 1), (157, 100), (345, 155)))
    if field == 124:
        size = random.choice((*INTEGERS, -512, -1024, 2**90))
        value = (size % 2**96).to_bytes(12, "big") if random.randrange(2) else b"%011o\0" % (size % 2**33)
    elif field == 156:
        value = random.choice(TAR_TYPES)
    else:
        value = damage(bytes(data[at + field : at + field + width]), random)[:width]
    data[at + field : at + field + width] = value.ljust(width, b"\0")
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


def in_zip(content: bytes, random: Random) -> bytes:
    """Change an entry of the directory, or a member's contents under a right checksum."""
    if random.randrange(2):
        data = bytearray(content)
        at = data.find(random.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")))
        if at >= 0:
            at += random.randrange(4, 46)
            width = random.choice((1, 2, 4))
            data[at : at + width] = (random.choice(INTEGERS) % (1 << 8 * width)).to_bytes(width, "little")
        return bytes(data)
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.infolist():
            inner = old.read(member)
            method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            new.writestr(member.filename, damage(inner, random) if random.randrange(2) else inner, method)
    return file.getvalue()


def in_safetensors(content: bytes, random: Random) -> bytes:
    """Change the header, or the JSON that it holds as text, and make its length right again."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    texts = header.get("__metadata__", {})
    if random.randrange(2) and "meta" in texts:
        header["__metadata__"] = texts | {"meta": json.dumps(replaced(json.loads(texts["meta"]), random))}
    else:
        header = replaced(header, random)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def packed(inner: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    """The same change in a file that gzip, bzip2 or xz packed."""

    def change(content: bytes, random: Random) -> bytes:
        for module in (gzip, bz2, lzma):
            try:
                plain = module.decompress(content)
            except (OSError, lzma.LZMAError):
                continue
            return module.compress(inner(plain, random))
        return inner(content, random)

    return change


def tar(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of these files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = file.getvalue().rstrip(b"\0")
    return data + bytes(-len(data) % 512 + 1024)  # two empty blocks end a tar, of the twenty that tarfile wrote
