"""Verify an archive of a Meterlog log as an outsider: with this file, the archive and a public key, and nothing else.

    python verify_archive.py ARCHIVE [--public-key KEY]

ARCHIVE is what `meterlog audit export` or `meterlog log export` wrote (- reads standard input), KEY the text that
`meterlog audit keygen` printed, or a file that holds it; of several keys between spaces one must have signed. The
program prints "verified: …" and ends with 0, or prints the first line and position that do not hold and ends with 1, or
ends with 2 for a KEY that is none. It imports nothing of Meterlog. It follows the format's description in
docs/guides/audit.md, and needs Python 3.11 and, for signatures, the package `cryptography`.
"""

import argparse
import json
import re
import struct
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

KEYS = {
    "header": "kind:text format:text version:number has_commits:truth after:number first_ordinal:number left:hashes "
    "chain:hash_or_none link:text",
    "event": "kind:text ordinal:number position:number stream:text version:number id:uuid type:text "
    "schema_version:number recorded_at_us:integer payload:text leaf:hash link:text",
    "commit": "kind:text first_position:number last_position:number root:hash chain:hash link:text",
    "seal": "kind:text note:text right:hashes link:text",
    "end": "kind:text events:number commits:number position:number chain:hash_or_none size:number root:hash link:text",
}
LINE_BYTES_MAX = 2 * 1024 * 1024
COMMIT_EVENTS_MAX = 1_000_000
HASH = "[0-9a-f]{64}"
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PATTERNS = {"text": ".*", "hash": HASH, "hash_or_none": f"({HASH})?", "uuid": UUID}
Line = dict[str, Any]


class NotVerified(Exception):
    """Why the archive does not hold."""


class Tree:
    """The right edge of an RFC 6962 Merkle tree: perfect subtrees as (level, hash), the largest first."""

    def __init__(self, size: int, hashes: list[str]) -> None:
        levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
        require(len(levels) == len(hashes), f"{len(hashes)} hashes are not the edge of a tree of {size} leaves")
        self.size = size
        self.edge = list(zip(levels, map(bytes.fromhex, hashes), strict=True))

    def add(self, subtree: bytes, level: int = 0) -> None:
        """Put a perfect subtree on the right, and join equal neighbours."""
        self.size += 1 << level
        while self.edge and self.edge[-1][0] == level:
            subtree = node(self.edge.pop()[1], subtree)
            level += 1
        self.edge.append((level, subtree))

    def close(self, hashes: list[str], size: int) -> None:
        """Grow to `size` leaves by the fewest perfect subtrees that lie between."""
        for subtree in hashes:
            left = size - self.size
            require(left > 0, "the seal has more hashes than lead to its size")
            level = left.bit_length() - 1
            while self.size % (1 << level):
                level -= 1
            self.add(bytes.fromhex(subtree), level)
        require(self.size == size, "the seal has fewer hashes than lead to its size")

    def root(self) -> bytes:
        """The Merkle tree hash of all leaves."""
        if not self.edge:
            return sha256().digest()
        root = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            root = node(left, root)
        return root


class Verifier:
    """Reads an archive from its first line to its last; what lies up to position `after` held."""

    def __init__(self, keys: str) -> None:
        self.keys = {(name, key_id): public for name, key_id, public in map(public_key_of, keys.split())}
        self.line = self.after = self.events = self.commits = 0
        self.first_leaf = b""
        self.sealed = self.signer = ""

    def verify(self, lines: Iterable[bytes]) -> None:
        """Raises NotVerified at the first line that does not hold."""
        told = self._told(iter(lines))
        header = next(told, dict[str, Any](kind="nothing"))
        require(header["kind"] == "header", "the header is missing")
        require(header["format"] == "meterlog-archive" and header["version"] == 1, "its format is not version 1")
        self.has_commits, self.after, self.chain = header["has_commits"], header["after"], header["chain"]
        if self.has_commits:
            require(header["first_ordinal"] == self.after, "positions count the events of this log")
            require((self.after == 0) == (self.chain == "0" * 64), "the chain does not fit to where it begins")
        require(bool(self.chain) == self.has_commits, "the header's chain contradicts its commits")
        self.tree = Tree(header["first_ordinal"], header["left"])
        self.waiting: list[bytes] = []
        end = self._body(told)
        require(not self.waiting, "no commit covers the newest events")
        found = (self.events, self.commits, self.after, self.chain, self.tree.size, self.tree.root().hex())
        said = tuple(end[key] for key in ("events", "commits", "position", "chain", "size", "root"))
        require(said == found, "the end does not fit to what it ends")
        require(next(told, None) is None, "something stands behind the end")
        require(not self.keys or self.sealed != "", "it carries no signed checkpoint that a key could prove")

    def _body(self, told: Iterator[Line]) -> Line:
        for line in told:
            kind = line["kind"]
            require(self.sealed == "" or kind == "end", "only the end may follow the seal")
            require(kind != "header", "a second header stands here")
            if kind == "end":
                return line
            {"event": self._event, "commit": self._commit, "seal": self._seal}[kind](line)
        raise NotVerified("the archive is cut short; its end is missing")

    def _event(self, line: Line) -> None:
        ordinal = self.tree.size + (len(self.waiting) if self.has_commits else 0)
        require(line["ordinal"] == ordinal, f"event {ordinal} must stand here, not {line['ordinal']}")
        fits = line["position"] == ordinal + 1 if self.has_commits else line["position"] > self.after
        require(fits, f"position {line['position']} cannot stand here")
        leaf = leaf_of(line)
        require(leaf.hex() == line["leaf"], "the event does not give its leaf")
        self.first_leaf = leaf if ordinal == 0 else self.first_leaf
        self.after = line["position"]
        self.events += 1
        if self.has_commits:
            self.waiting.append(leaf)
            require(len(self.waiting) <= COMMIT_EVENTS_MAX, "no commit is that large")
        else:
            self.tree.add(leaf)

    def _commit(self, line: Line) -> None:
        require(self.has_commits and bool(self.waiting), "a commit stands here without events")
        first, last = self.tree.size + 1, self.tree.size + len(self.waiting)
        require((line["first_position"], line["last_position"]) == (first, last), f"it must cover {first} to {last}")
        commit = Tree(0, [])
        for leaf in self.waiting:
            commit.add(leaf)
            self.tree.add(leaf)
        require(commit.root().hex() == line["root"], f"the root is not that of positions {first} to {last}")
        chain = sha256(bytes.fromhex(self.chain) + commit.root() + struct.pack(">Q", last)).hexdigest()
        require(chain == line["chain"], "the chain does not continue")
        self.chain, self.waiting = chain, []
        self.commits += 1

    def _seal(self, line: Line) -> None:
        require(not self.waiting, "no commit covers the newest events")
        self.sealed = line["note"]
        origin, size_text, root, *_ = [*self.sealed.split("\n"), "", "", ""]
        require(re.fullmatch("[0-9]{1,19}", size_text) is not None, "the note is no checkpoint")
        size = int(size_text)
        name = f"meterlog/{self.first_leaf.hex()}"
        require(self.first_leaf == b"" or origin == name, f"the checkpoint is of another log: {origin}, not {name}")
        require(size >= self.tree.size, f"the checkpoint is of {size} events, fewer than there are")
        whole = Tree(self.tree.size, [subtree.hex() for _, subtree in self.tree.edge])
        whole.close(line["right"], size)
        require(b64encode(whole.root()).decode() == root, "the checkpoint's root is not that of these events")
        if self.keys:
            self.signer = signer_of(self.sealed, self.keys)

    def _told(self, lines: Iterator[bytes]) -> Iterator[Line]:
        """What each line says, once its bytes are the only ones that say it."""
        link = "0" * 16
        for content in lines:
            self.line += 1
            require(content.endswith(b"\n"), "the archive is cut short here, or the line is too long")
            line, spelled = parsed(content)
            link = sha256(link.encode() + spelled[: spelled.rindex(b',"link":')]).hexdigest()[:16]
            fits = spelled == content and line["link"] == link
            require(fits, "a byte of it was changed, or a line before is missing")
            yield line


def parsed(content: bytes) -> tuple[Line, bytes]:
    """The JSON object of a line, with the keys and values that its kind has, and the one way to write it."""
    try:
        line = json.loads(content.decode())
        spelled = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        keys = dict(pair.split(":") for pair in KEYS[line["kind"]].split())
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotVerified("it is no line of an archive") from error
    require(list(line) == list(keys), f"a {line['kind']} does not have these keys")
    for key, kind in keys.items():
        require(is_a(kind, line[key]), f"{key} is not written as it must be")
    return line, spelled


def is_a(kind: str, value: object) -> bool:
    """Whether a value is of that kind."""
    if kind in ("number", "integer"):
        return type(value) is int and (0 if kind == "number" else -(2**63)) <= value < 2**63
    if kind == "truth":
        return isinstance(value, bool)
    if kind == "hashes":
        return isinstance(value, list) and all(is_a("hash", each) for each in value)
    return isinstance(value, str) and re.fullmatch(PATTERNS[kind], value, re.DOTALL) is not None


def leaf_of(line: Line) -> bytes:
    """SHA-256(0x00 ‖ header ‖ payload), from the stored bytes."""
    require(line["schema_version"] < 2**32, "no event has that schema version")
    stream, kind, event_id = line["stream"].encode(), line["type"].encode(), bytes.fromhex(line["id"].replace("-", ""))
    header = struct.pack(">I", len(stream)) + stream
    header += struct.pack(">Q16sI", line["version"], event_id, len(kind)) + kind
    header += struct.pack(">Iq", line["schema_version"], line["recorded_at_us"])
    return sha256(b"\x00" + header + base64_bytes(line["payload"])).digest()


def base64_bytes(text: str) -> bytes:
    """What base64 text says, when it is the one text that says so."""
    try:
        content = b64decode(text, validate=True)
    except ValueError:
        content = b""
    require(b64encode(content).decode() == text, f'"{text[:80]}" is no base64')
    return content


def node(left: bytes, right: bytes) -> bytes:
    """An inner node of the tree."""
    return sha256(b"\x01" + left + right).digest()


def signer_of(note: str, keys: dict[tuple[str, bytes], bytes]) -> str:
    """The name of the first of the keys that has signed the note (c2sp.org/signed-note)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found, names = "", {name for name, _ in keys}
    text, _, signatures = note.rpartition("\n\n")
    for line in signatures.split("\n"):
        mark, signer, encoded, *_ = [*line.split(" "), "", ""]
        signature = base64_bytes(encoded) if mark == "—" and signer in names else b""
        if (public := keys.get((signer, signature[:4]))) is not None:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], f"{text}\n".encode())
            except InvalidSignature:
                raise NotVerified(f"the signature of {signer} is not over this checkpoint") from None
            found = found or signer
    require(found != "", f"the checkpoint is not signed with a key of {' or '.join(sorted(names))} that was given")
    return found


def public_key_of(text: str) -> tuple[str, bytes, bytes]:
    """Name, key id and the 32 bytes of a key written as `<name>+<id in hex>+<base64 of 0x01 and the bytes>`."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = base64_bytes(encoded)
    require(key[:1] == b"\x01" and len(key) == 33, f'"{text[:80]}" is neither a file nor an Ed25519 verifier key')
    require(sha256(name.encode() + b"\n" + key).hexdigest()[:8] == key_id, f'the key "{text[:80]}" is misspelled')
    return name, bytes.fromhex(key_id), key[1:]


def require(holds: bool, otherwise: str) -> None:
    """Raises NotVerified unless something holds."""
    if not holds:
        raise NotVerified(otherwise)


def verdict(verifier: Verifier, lines: Iterable[bytes]) -> str:
    """One sentence; raises NotVerified with the line and the position in front."""
    try:
        verifier.verify(lines)
    except NotVerified as problem:
        raise NotVerified(f"line {verifier.line}, behind position {verifier.after}: {problem}") from None
    tree, signed = verifier.tree, f"signed by {verifier.signer}"
    if not verifier.keys:
        signed = "signature not checked: give --public-key" if verifier.sealed else "no signed checkpoint in it"
    return f"verified: {verifier.events} events of {tree.size}, root {tree.root().hex()}, {signed}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Verify an archive of a Meterlog log.")
    parser.add_argument("archive", help="file, or - for standard input")
    parser.add_argument("--public-key", metavar="KEY", help="the verifier key or keys, or a file of them")
    options = parser.parse_args()
    key: str = options.public_key or ""
    try:
        verifier = Verifier(Path(key).read_text(encoding="utf-8") if key and Path(key).is_file() else key)
        require(options.public_key is None or bool(verifier.keys), "it holds no key")
    except (NotVerified, OSError, UnicodeDecodeError) as problem:
        parser.error(f"--public-key: {problem}")
    try:
        with sys.stdin.buffer if options.archive == "-" else Path(options.archive).open("rb") as file:
            print(verdict(verifier, iter(lambda: file.readline(LINE_BYTES_MAX), b"")))
    except (NotVerified, OSError) as problem:
        print(f"NOT verified: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
