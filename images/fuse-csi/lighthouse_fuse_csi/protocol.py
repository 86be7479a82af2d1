"""The FUSE wire protocol: operation codes, flags, structures. Little-endian, as on every platform we build for.

Structures follow include/uapi/linux/fuse.h, protocol 7.45; only what a read-only file system needs is here.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

MAJOR, MINOR = 7, 44
ROOT = 1
MAX_READ = 1 << 20
BUFFER = 1 << 16
UNIQUE_RESEND = 1 << 63


class Op(IntEnum):
    """Operation codes of requests that are answered with something else than ENOSYS."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    READLINK = 5
    READ = 15
    STATFS = 17
    INIT = 26
    READDIR = 28
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44


class Notify(IntEnum):
    """Codes of messages that the server sends unasked."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    RESEND = 7


class Flag(IntFlag):
    """INIT flags; those from bit 32 up travel in the second word."""

    ASYNC_READ = 1 << 0
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    INIT_EXT = 1 << 30
    HAS_RESEND = 1 << 39
    # Needs default_permissions among the mount options, else the kernel ends the connection.
    ALLOW_IDMAP = 1 << 40


WANTED = (
    Flag.ASYNC_READ
    | Flag.AUTO_INVAL_DATA
    | Flag.DO_READDIRPLUS
    | Flag.READDIRPLUS_AUTO
    | Flag.NO_OPEN_SUPPORT
    | Flag.PARALLEL_DIROPS
    | Flag.ABORT_ERROR
    | Flag.MAX_PAGES
    | Flag.CACHE_SYMLINKS
    | Flag.NO_OPENDIR_SUPPORT
    | Flag.INIT_EXT
    | Flag.HAS_RESEND
    | Flag.ALLOW_IDMAP
)

# fuse_in_header: len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding
IN_HEADER = struct.Struct("<IIQQIIIHH")
# fuse_out_header: len, error, unique
OUT_HEADER = struct.Struct("<IiQ")
# fuse_init_in: major, minor, max_readahead, flags, flags2 (the rest is unused)
INIT_IN = struct.Struct("<IIIII")
# fuse_init_out: major, minor, max_readahead, flags, max_background, congestion_threshold, max_write,
# time_gran, max_pages, map_alignment, flags2, max_stack_depth, request_timeout
INIT_OUT = struct.Struct("<IIIIHHIIHHIIH22x")
# fuse_attr: ino, size, blocks, atime, mtime, ctime, three nanosecond fields, mode, nlink, uid, gid, rdev,
# blksize, flags
ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
# fuse_attr_out before the attributes: attr_valid, attr_valid_nsec, dummy
ATTR_OUT = struct.Struct("<QII")
# fuse_entry_out before the attributes: nodeid, generation, entry_valid, attr_valid, two nanosecond fields
ENTRY_OUT = struct.Struct("<QQQQII")
# fuse_dirent before the name: ino, off, namelen, type
DIRENT = struct.Struct("<QQII")
# fuse_read_in: fh, offset, size (flags and lock owner do not matter here)
READ_IN = struct.Struct("<QQI")
# fuse_kstatfs: blocks, bfree, bavail, files, ffree, bsize, namelen, frsize
STATFS_OUT = struct.Struct("<QQQQQIII28x")
# fuse_notify_inval_inode_out: ino, off, len
INVAL_INODE = struct.Struct("<Qqq")
# fuse_notify_inval_entry_out: parent, namelen, flags
INVAL_ENTRY = struct.Struct("<QII")
UNIQUE = struct.Struct("<Q")

NO_ENTRY = bytes(ENTRY_OUT.size + ATTR.size)


def attributes(nodeid: int, mode: int, size: int, mtime_us: int, links: int = 1) -> bytes:
    """fuse_attr of a file of root; `size` in bytes, `mtime_us` in microseconds since the epoch."""
    seconds, micro = divmod(mtime_us, 1_000_000)
    nano = micro * 1000
    blocks = (size + 511) >> 9
    return ATTR.pack(
        nodeid, size, blocks, seconds, seconds, seconds, nano, nano, nano, mode, links, 0, 0, 0, 4096, 0
    )


def message(code: Notify, payload: bytes = b"") -> bytes:
    """A notification: a reply to no request, with the code in the place of the error."""
    return OUT_HEADER.pack(OUT_HEADER.size + len(payload), code, 0) + payload


def inval_inode(nodeid: int, offset: int = 0, length: int = 0) -> bytes:
    """Forget the attributes, and the cached content from `offset` on (all of it when `length` is 0)."""
    return message(Notify.INVAL_INODE, INVAL_INODE.pack(nodeid, offset, length))


def inval_entry(parent: int, name: bytes) -> bytes:
    """Forget what this name in this folder stands for."""
    return message(Notify.INVAL_ENTRY, INVAL_ENTRY.pack(parent, len(name), 0) + name + b"\0")
