# SPDX-License-Identifier: GPL-2.0
"""pr-cases.py DISK DISK: the rules of persistent reservations (SPC-4), on a unit that is seen by two initiators.

Each rule is tried by the block layer's ioctls (linux/pr.h), and by sg_persist, from a unit that has neither keys nor a reservation.
What the target says that it cannot do has to be refused, and the refusal has to be told.
"""

import errno
import fcntl
import mmap
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import sgio

KEY_A, KEY_B, OTHER = 0xA1, 0xB2, 0xC3
# Types as linux/pr.h numbers them.
(WRITE, ALL, WRITE_REGISTRANTS, ALL_REGISTRANTS, WRITE_EACH, ALL_EACH) = TYPES = range(1, 7)
TO_SCSI = {WRITE: 1, ALL: 3, WRITE_REGISTRANTS: 5, ALL_REGISTRANTS: 6, WRITE_EACH: 7, ALL_EACH: 8}
OK, CONFLICT, REFUSED = "ok", "conflict", "refused"
BLOCK = 4096


class Wrong(Exception):
    """What is not as the rule has it."""


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {found!r}, not {wanted!r}")


class Node:
    """The unit as one initiator has it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"/dev/{name}"
        self._buffer = mmap.mmap(-1, BLOCK)
        self._fd = os.open(self.path, os.O_RDWR | os.O_DIRECT)

    def _io(self, call: Callable[..., int], place: int) -> str:
        try:
            same(f"bytes moved by {self.name}", call(self._fd, [self._buffer], place * BLOCK), BLOCK)
        except OSError as err:
            # What the block layer makes of a reservation conflict.
            return CONFLICT if err.errno == errno.EBADE else errno.errorcode[err.errno or 0]
        return OK

    def write(self, letter: bytes, place: int = 1) -> str:
        self._buffer[:] = letter * BLOCK
        return self._io(os.pwritev, place)

    def read(self, place: int = 1) -> str:
        """`ok`, if it can; what is there is in `letter`."""
        self._buffer[:] = b"?" * BLOCK
        return self._io(os.preadv, place)

    def letter(self) -> bytes:
        same(f"{self.name} reads", self.read(), OK)
        found = bytes(self._buffer)
        same("a block of one letter", found, found[:1] * BLOCK)
        return found[:1]

    def attention(self) -> tuple[int, int] | None:
        """The unit attention that waits, as ASC and ASCQ; it is taken."""
        header, sense = sgio.send(self.path, bytes(6))
        if header.status == 0:
            return None
        same(f"status and sense key of TEST UNIT READY on {self.name}", (header.status, sense[2] & 15), (2, 6))
        return sense[12], sense[13]

    def calm(self) -> None:
        while self.attention():
            pass

    def ioctl(self, number: int, direction: int, data: bytearray) -> str:
        request = direction << 30 | len(data) << 16 | ord("p") << 8 | number
        try:
            result = fcntl.ioctl(self._fd, request, data)
        except OSError as err:
            return REFUSED if err.errno == errno.EINVAL else errno.errorcode[err.errno or 0]
        # PR_STS_SUCCESS, _RESERVATION_CONFLICT, _IOERR: sense data.
        return {0: OK, 0x18: CONFLICT, 2: REFUSED}.get(result, f"result {result:#x}")


class Tool:
    """By sg_persist."""

    name = "sg_persist"

    def _run(self, node: Node, *words: str) -> tuple[str, str]:
        done = None
        for _ in range(5):
            done = subprocess.run(
                ["sg_persist", "--no-inquiry", *words, node.path], capture_output=True, text=True, check=False
            )
            # A unit attention: not done, once more.
            if done.returncode != 6:
                break
        assert done
        # Its exit statuses: not ready, illegal request, an operation code that is none, reservation conflict.
        word = {0: OK, 2: REFUSED, 5: REFUSED, 9: REFUSED, 24: CONFLICT}.get(done.returncode, f"status {done.returncode}")
        return word, done.stdout + done.stderr

    def _out(self, node: Node, operation: str, key: int = 0, service: int = 0, kind: int = 0) -> str:
        words = ["--out", f"--{operation}", f"--param-rk={key:#x}", f"--param-sark={service:#x}"]
        return self._run(node, *words, *([f"--prout-type={TO_SCSI[kind]}"] if kind else []))[0]

    def register(self, node: Node, old: int, new: int) -> str:
        return self._out(node, "register", old, new)

    def ignore(self, node: Node, new: int) -> str:
        return self._out(node, "register-ignore", 0, new)

    def reserve(self, node: Node, key: int, kind: int) -> str:
        return self._out(node, "reserve", key, kind=kind)

    def release(self, node: Node, key: int, kind: int) -> str:
        return self._out(node, "release", key, kind=kind)

    def preempt(self, node: Node, key: int, victim: int, kind: int) -> str:
        return self._out(node, "preempt", key, victim, kind)

    def abort(self, node: Node, key: int, victim: int, kind: int) -> str:
        return self._out(node, "preempt-abort", key, victim, kind)

    def clear(self, node: Node, key: int) -> str:
        return self._out(node, "clear", key)

    def keys(self, node: Node) -> tuple[int, list[int]]:
        """The generation, and the keys."""
        word, said = self._run(node, "--in", "--read-keys")
        same("reading keys", word, OK)
        generation = re.search(r"PR generation=(0x[0-9a-f]+)", said)
        if not generation:
            raise Wrong(f"no generation: {said}")
        return int(generation[1], 16), sorted(int(key, 16) for key in re.findall(r"^ +(0x[0-9a-f]+)$", said, re.M))

    def holder(self, node: Node) -> tuple[int, int] | None:
        """The reservation's key and type."""
        word, said = self._run(node, "--in", "--read-reservation")
        same("reading the reservation", word, OK)
        if "there is NO reservation held" in said:
            return None
        key = re.search(r"Key\s*=\s*(0x[0-9a-f]+)", said)
        kind = re.search(r"type: (.*)$", said, re.M)
        names = {
            "Write Exclusive": WRITE, "Exclusive Access": ALL,
            "Write Exclusive, registrants only": WRITE_REGISTRANTS, "Exclusive Access, registrants only": ALL_REGISTRANTS,
            "Write Exclusive, all registrants": WRITE_EACH, "Exclusive Access, all registrants": ALL_EACH,
        }  # fmt: skip
        if not key or not kind:
            raise Wrong(f"no reservation in: {said}")
        return int(key[1], 16), names[kind[1].strip()]

    def keeps(self, node: Node) -> bool:
        """Whether the target can keep keys over a loss of power."""
        word, said = self._run(node, "--in", "--report-capabilities")
        same("reporting capabilities", word, OK)
        return "(PTPL_C): 1" in said


class Ioctl(Tool):
    """By the block layer, which registers with APTPL only: where the target cannot, sg_persist does that."""

    name = "ioctl"

    def __init__(self, registers: bool) -> None:
        self.registers = registers

    def register_by_ioctl(self, node: Node, old: int, new: int, flags: int = 0) -> str:
        return node.ioctl(200, 1, bytearray(struct.pack("=QQII", old, new, flags, 0)))

    def register(self, node: Node, old: int, new: int) -> str:
        return self.register_by_ioctl(node, old, new) if self.registers else super().register(node, old, new)

    def ignore(self, node: Node, new: int) -> str:
        return self.register_by_ioctl(node, 0, new, 1) if self.registers else super().ignore(node, new)

    def reserve(self, node: Node, key: int, kind: int) -> str:
        return node.ioctl(201, 1, bytearray(struct.pack("=QII", key, kind, 0)))

    def release(self, node: Node, key: int, kind: int) -> str:
        return node.ioctl(202, 1, bytearray(struct.pack("=QII", key, kind, 0)))

    def preempt(self, node: Node, key: int, victim: int, kind: int) -> str:
        return node.ioctl(203, 1, bytearray(struct.pack("=QQII", key, victim, kind, 0)))

    def abort(self, node: Node, key: int, victim: int, kind: int) -> str:
        return node.ioctl(204, 1, bytearray(struct.pack("=QQII", key, victim, kind, 0)))

    def clear(self, node: Node, key: int) -> str:
        return node.ioctl(205, 1, bytearray(struct.pack("=QII", key, 0, 0)))

    def keys(self, node: Node) -> tuple[int, list[int]]:
        room = mmap.mmap(-1, 4096)
        view = (sgio.ctypes.c_char * 4096).from_buffer(room)
        data = bytearray(struct.pack("=IIQ", 0, 512, sgio.ctypes.addressof(view)))
        same("reading keys", node.ioctl(206, 3, data), OK)
        generation, number, _ = struct.unpack("=IIQ", data)
        found = sorted(struct.unpack(f"={number}Q", room[: 8 * number]))
        del view
        return generation, found

    def holder(self, node: Node) -> tuple[int, int] | None:
        data = bytearray(16)
        same("reading the reservation", node.ioctl(207, 2, data), OK)
        key, _, kind = struct.unpack("=QII", data)
        return (key, kind) if kind else None


class Unit:
    """The unit, its two initiators, and how it is asked."""

    def __init__(self, a: Node, b: Node, by: Tool, lacks: set[str]) -> None:
        self.a, self.b, self.by, self.lacks = a, b, by, lacks

    def clean(self) -> None:
        """Neither keys nor a reservation nor unit attentions; `.` at block 1."""
        tool = Tool()
        same("registering to clean up", tool.ignore(self.a, OTHER), OK)
        same("cleaning up", tool.clear(self.a, OTHER), OK)
        for node in (self.a, self.b):
            node.calm()
        same("writing", self.a.write(b"."), OK)

    def keys(self, *wanted: int) -> None:
        for node in (self.a, self.b):
            same(f"the keys, as {node.name} reads them", self.by.keys(node)[1], sorted(wanted))

    def generation(self) -> int:
        return self.by.keys(self.a)[0]

    def held(self, wanted: tuple[int, int] | None) -> None:
        for node in (self.a, self.b):
            found = self.by.holder(node)
            if wanted and found and wanted[1] >= WRITE_EACH:
                # All registrants hold it: no key.
                found = (wanted[0], found[1])
            same(f"the reservation, as {node.name} reads it", found, wanted)

    def register(self, *nodes: Node) -> None:
        for node in nodes:
            same("registering", self.by.register(node, 0, KEY_A if node is self.a else KEY_B), OK)

    def reserve(self, kind: int) -> None:
        same("reserving", self.by.reserve(self.a, KEY_A, kind), OK)
        self.held((KEY_A, kind))


def registers(unit: Unit) -> None:
    """A key is registered, both see it; each registration counts."""
    before = unit.generation()
    unit.register(unit.a)
    unit.keys(KEY_A)
    unit.register(unit.b)
    unit.keys(KEY_A, KEY_B)
    same("the generation", unit.generation(), before + 2)
    unit.held(None)
    if isinstance(unit.by, Ioctl) and not unit.by.registers:
        same("registering with APTPL", unit.by.register_by_ioctl(unit.b, KEY_B, OTHER), REFUSED)
        unit.keys(KEY_A, KEY_B)


def wrong_key(unit: Unit) -> None:
    """Who names another key than the one that he has changes nothing."""
    same("registering from a key, without one", unit.by.register(unit.a, OTHER, KEY_A), CONFLICT)
    unit.register(unit.a)
    before = unit.generation()
    same("registering from a wrong key", unit.by.register(unit.a, OTHER, KEY_B), CONFLICT)
    same("registering from none, with one", unit.by.register(unit.a, 0, KEY_B), CONFLICT)
    unit.keys(KEY_A)
    same("the generation", unit.generation(), before)
    same("registering from the right key", unit.by.register(unit.a, KEY_A, OTHER), OK)
    unit.keys(OTHER)


def ignores(unit: Unit) -> None:
    """A registration that ignores the key that was there replaces it."""
    unit.register(unit.a, unit.b)
    same("ignoring the old key", unit.by.ignore(unit.a, OTHER), OK)
    unit.keys(OTHER, KEY_B)


def unregisters(unit: Unit) -> None:
    """Who unregisters takes his own key away, not the other's."""
    unit.register(unit.a, unit.b)
    same("unregistering", unit.by.register(unit.a, KEY_A, 0), OK)
    unit.keys(KEY_B)
    wanted = REFUSED if "conflict of RESERVE" in unit.lacks else CONFLICT
    same("reserving without a key", unit.by.reserve(unit.a, KEY_A, WRITE), wanted)
    unit.held(None)


def access(unit: Unit) -> None:
    """Each type: what its holder, who is not registered, and who is may read and write."""
    for kind in TYPES:
        unit.clean()
        unit.register(unit.a)
        unit.reserve(kind)
        reads = OK if kind in (WRITE, WRITE_REGISTRANTS, WRITE_EACH) else CONFLICT
        same(f"type {kind}, holder writes", unit.a.write(b"h"), OK)
        same(f"type {kind}, stranger reads", unit.b.read(), reads)
        same(f"type {kind}, stranger writes", unit.b.write(b"s"), CONFLICT)
        same(f"type {kind}, what is there", unit.a.letter(), b"h")
        unit.register(unit.b)
        all_may = kind not in (WRITE, ALL)
        same(f"type {kind}, registrant reads", unit.b.read(), OK if all_may else reads)
        same(f"type {kind}, registrant writes", unit.b.write(b"r"), OK if all_may else CONFLICT)
        same(f"type {kind}, what is there then", unit.a.letter(), b"r" if all_may else b"h")


def second(unit: Unit) -> None:
    """Nobody reserves what is reserved; the holder may say the same again, and nothing else."""
    unit.register(unit.a, unit.b)
    if "key of RESERVE" not in unit.lacks:
        same("reserving with a wrong key", unit.by.reserve(unit.a, OTHER, WRITE), CONFLICT)
        unit.held(None)
    unit.reserve(WRITE)
    same("reserving again", unit.by.reserve(unit.a, KEY_A, WRITE), OK)
    same("reserving in another type", unit.by.reserve(unit.a, KEY_A, ALL), CONFLICT)
    same("the other's reserving", unit.by.reserve(unit.b, KEY_B, WRITE), CONFLICT)
    unit.held((KEY_A, WRITE))


def releases(unit: Unit) -> None:
    """Only the holder releases, with his key and the type."""
    unit.register(unit.a)
    unit.reserve(ALL_REGISTRANTS)
    same("a stranger's release", unit.by.release(unit.b, KEY_B, ALL_REGISTRANTS), CONFLICT)
    unit.register(unit.b)
    same("a release of what another one holds", unit.by.release(unit.b, KEY_B, ALL_REGISTRANTS), OK)
    unit.held((KEY_A, ALL_REGISTRANTS))
    same("a release with a wrong key", unit.by.release(unit.a, OTHER, ALL_REGISTRANTS), CONFLICT)
    wanted = CONFLICT if "sense data of RELEASE" in unit.lacks else REFUSED
    same("a release of another type", unit.by.release(unit.a, KEY_A, WRITE), wanted)
    unit.held((KEY_A, ALL_REGISTRANTS))
    same("releasing", unit.by.release(unit.a, KEY_A, ALL_REGISTRANTS), OK)
    unit.held(None)
    unit.keys(KEY_A, KEY_B)
    same("releasing again", unit.by.release(unit.a, KEY_A, ALL_REGISTRANTS), OK)
    same("the other's write", unit.b.write(b"w"), OK)


def told(unit: Unit) -> None:
    """A unit attention tells the other registrants of a release."""
    unit.register(unit.a, unit.b)
    unit.reserve(WRITE_REGISTRANTS)
    unit.b.calm()
    same("releasing", unit.by.release(unit.a, KEY_A, WRITE_REGISTRANTS), OK)
    same("the other's unit attention", unit.b.attention(), None if "word of RELEASE" in unit.lacks else (0x2A, 4))
    same("another one", unit.b.attention(), None)
    same("the releaser's", unit.a.attention(), None)


def _taken(unit: Unit, take: Callable[[Node, int, int, int], str]) -> None:
    unit.register(unit.a, unit.b)
    unit.reserve(WRITE_REGISTRANTS)
    unit.a.calm()
    before = unit.generation()
    same("the victim's write before", unit.a.write(b"v"), OK)
    same("preempting", take(unit.b, KEY_B, KEY_A, ALL_REGISTRANTS), OK)
    # Reservations preempted, or registrations.
    found = unit.a.attention()
    if found not in ((0x2A, 3), (0x2A, 5)):
        raise Wrong(f"the victim's unit attention: {found}")
    unit.keys(KEY_B)
    unit.held((KEY_B, ALL_REGISTRANTS))
    same("the generation", unit.generation(), before + 1)
    same("the victim's write", unit.a.write(b"x"), CONFLICT)
    same("the victim's read", unit.a.read(), CONFLICT)
    same("the victim's reservation", unit.by.reserve(unit.a, KEY_A, ALL_REGISTRANTS), CONFLICT)
    same("what is there", unit.b.letter(), b"v")


def preempts(unit: Unit) -> None:
    """Who preempts the holder has the reservation, in the type that he wants; the holder's key is gone."""
    _taken(unit, unit.by.preempt)


def aborts(unit: Unit) -> None:
    """The same with the victim's commands aborted; a target that cannot says so."""
    if "PREEMPT AND ABORT" not in unit.lacks:
        _taken(unit, unit.by.abort)
        return
    unit.register(unit.a, unit.b)
    unit.reserve(WRITE_REGISTRANTS)
    same("preempting with an abort", unit.by.abort(unit.b, KEY_B, KEY_A, WRITE_REGISTRANTS), REFUSED)
    unit.keys(KEY_A, KEY_B)
    unit.held((KEY_A, WRITE_REGISTRANTS))


def evicts(unit: Unit) -> None:
    """The holder preempts a registrant who holds nothing: his key is gone, the reservation is as it was."""
    unit.register(unit.a, unit.b)
    unit.reserve(WRITE_REGISTRANTS)
    same("the registrant's write", unit.b.write(b"b"), OK)
    same("preempting", unit.by.preempt(unit.a, KEY_A, KEY_B, WRITE_REGISTRANTS), OK)
    unit.keys(KEY_A)
    unit.held((KEY_A, WRITE_REGISTRANTS))
    same("his write", unit.b.write(b"x"), CONFLICT)
    same("the holder's", unit.a.write(b"a"), OK)


def strangers(unit: Unit) -> None:
    """Who is not registered neither preempts nor clears; nor does a wrong key; nobody preempts a key that none has."""
    unit.register(unit.a)
    unit.reserve(WRITE)
    same("a stranger's preempting", unit.by.preempt(unit.b, KEY_B, KEY_A, WRITE), CONFLICT)
    same("a stranger's clearing", unit.by.clear(unit.b, KEY_B), CONFLICT)
    unit.register(unit.b)
    same("preempting with a wrong key", unit.by.preempt(unit.b, OTHER, KEY_A, WRITE), CONFLICT)
    same("clearing with a wrong key", unit.by.clear(unit.b, OTHER), CONFLICT)
    same("preempting a key that none has", unit.by.preempt(unit.b, KEY_B, OTHER, WRITE), CONFLICT)
    unit.keys(KEY_A, KEY_B)
    unit.held((KEY_A, WRITE))


def clears(unit: Unit) -> None:
    """Any registrant clears all keys and the reservation; the others are told."""
    unit.register(unit.a, unit.b)
    unit.reserve(ALL)
    unit.a.calm()
    before = unit.generation()
    same("clearing", unit.by.clear(unit.b, KEY_B), OK)
    same("the holder's unit attention", unit.a.attention(), (0x2A, 3))
    unit.keys()
    unit.held(None)
    same("the generation", unit.generation(), before + 1)
    same("the other's write", unit.b.write(b"w"), OK)


def leaves(unit: Unit) -> None:
    """With the holder's key his reservation goes; one of all registrants stays until the last of them leaves."""
    unit.register(unit.a, unit.b)
    unit.reserve(WRITE_REGISTRANTS)
    same("the holder's unregistering", unit.by.register(unit.a, KEY_A, 0), OK)
    unit.held(None)
    unit.keys(KEY_B)
    same("a stranger's write", unit.a.write(b"w"), OK)
    unit.register(unit.a)
    unit.reserve(WRITE_EACH)
    same("the first one's unregistering", unit.by.register(unit.a, KEY_A, 0), OK)
    unit.held((KEY_B, WRITE_EACH))
    same("his write", unit.a.write(b"x"), CONFLICT)
    same("the last one's unregistering", unit.by.register(unit.b, KEY_B, 0), OK)
    unit.held(None)


def lasts(unit: Unit) -> None:
    """Keys and reservation outlast resets of the unit, the target and the host."""
    unit.register(unit.a, unit.b)
    unit.reserve(WRITE)
    before = unit.generation()
    # The C driver resets units only.
    for what in ("--device",) if os.environ["MODE"] == "c" else ("--device", "--target", "--host"):
        subprocess.run(["sg_reset", "--no-esc", what, unit.b.path], check=True, stdout=subprocess.DEVNULL)
        unit.keys(KEY_A, KEY_B)
        unit.held((KEY_A, WRITE))
        same("the other's write", unit.b.write(b"x"), CONFLICT)
        same("the holder's write", unit.a.write(b"h"), OK)
    same("the generation", unit.generation(), before)


RULES = (
    registers, wrong_key, ignores, unregisters, access, second, releases, told, preempts, aborts, evicts, strangers,
    clears, leaves, lasts,
)  # fmt: skip


# What a target is known not to do, by its vendor. tgt does not look at the key of the one who reserves, and tells nobody that a
# reservation was released. LIO refuses who reserves without a key, or releases another type, in other words than the standard's.
LACKS = {
    "IET": {"PREEMPT AND ABORT", "key of RESERVE", "word of RELEASE"},
    "LIO-ORG": {"conflict of RESERVE", "sense data of RELEASE"},
}


def main() -> None:
    a, b = map(Node, sys.argv[1:])
    vendor = open(f"/sys/block/{a.name}/device/vendor", encoding="ascii").read().strip()
    keeps = Tool().keeps(a)
    lacks = LACKS.get(vendor, set())
    print(f"{vendor}: keeps keys: {keeps}; lacks: {', '.join(sorted(lacks)) or 'nothing'}")
    bad = []
    for by in (Ioctl(keeps), Tool()):
        unit = Unit(a, b, by, lacks)
        for rule in RULES:
            begin = time.monotonic()
            unit.clean()
            why = ""
            try:
                rule(unit)
            except Wrong as err:
                why = f"{by.name}, {rule.__name__}: {err}"
                bad.append(why)
            print(f"{by.name} {rule.__name__} {time.monotonic() - begin:.1f} s", *([why] if why else []))
    unit.clean()
    print(f"{len(RULES)} rules")
    if bad:
        sys.exit("; ".join(bad))


main()
