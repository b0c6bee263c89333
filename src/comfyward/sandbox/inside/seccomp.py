"""System calls that ComfyUI may not make: those that containers and desktop sandboxes refuse to foreign programs.

The names are the union of two maintained lists: the system calls that Docker's default profile blocks (Docker's manual,
"Significant syscalls blocked by the default profile"), and the blocklist of Flatpak (flatpak-run.c). Nothing that runs
in a GPU container needs them. Calls newer than this list fail with ENOSYS, as on an older kernel.

Where ComfyUI has no namespaces, more calls are kept from it, which Landlock does not know: attributes of files that
belong to the worker's user, limits and scheduling of that user's other processes, objects of System V and POSIX that
outlive whoever made them, and watches on folders of others (decision 064).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import List, Mapping, Optional, Tuple

from comfyward.sandbox.inside.kernel import check, forbid_new_privileges, libc

# name: number on x86-64, number on ARM64 (None: does not exist there)
REFUSED = {
    "_sysctl": (156, None),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, None),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, None),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
}
# Memory that no process need show: with namespaces it ends with them, but counts nowhere while it lasts.
HIDDEN_MEMORY = {"shmget": (29, 194)}
# Objects that all processes of a host share, and that stay after whoever made them. As in a kernel without them.
SHARED_OBJECTS = {
    "mq_getsetattr": (245, 185),
    "mq_notify": (244, 184),
    "mq_open": (240, 180),
    "mq_timedreceive": (243, 183),
    "mq_timedsend": (242, 182),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
}
# They tell the names of files that come and go in folders that Landlock lets nobody list. As in a kernel without them.
WATCHES = {"inotify_add_watch": (254, 27), "inotify_init": (253, None), "inotify_init1": (294, 26)}
# They need no permission but to be the owner. Programs copy files with them, so that success is told, and nothing done.
ATTRIBUTES = {
    "chmod": (90, None),
    "chown": (92, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fremovexattr": (199, 16),
    "fsetxattr": (190, 7),
    "futimesat": (261, None),
    "lchown": (94, None),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "removexattr": (197, 14),
    "setxattr": (188, 5),
    "utime": (132, None),
    "utimensat": (280, 88),
    "utimes": (235, None),
}
# Their first argument is a process or thread, 0 for the one that calls. For others nothing is done, success is told:
# libraries bind their threads to processors with them.
SCHEDULING = {
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}
PRLIMIT, SETPRIORITY, IOPRIO_SET = (302, 261), (141, 140), (251, 30)
PRIO_PROCESS, IOPRIO_WHO_PROCESS = 0, 1
CLONE, CLONE3, IOCTL, SOCKET = (56, 220), (435, 435), (16, 29), (41, 198)
NEWEST = 462
NAMESPACES = 0x7E020080  # the CLONE_NEW… flags, which clone() takes in its first argument
TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX put characters into a terminal, to be read by its shell
# FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_ENABLE_VERITY, FS_IOC_SET_ENCRYPTION_POLICY: attributes of an open file
FILE_FLAGS = (0x40086602, 0x401C5820, 0x40806685, 0x800C6613)
FAMILIES = (0, 1, 2, 10, 16)  # unspecified, Unix, IPv4, IPv6, netlink

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NOTHING_DONE = ERRNO  # success, without effect
LOAD, JUMP_EQUAL, JUMP_GREATER, JUMP_ANY, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
PR_SET_SECCOMP, MODE_FILTER = 22, 2

Instruction = Tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def program(machine: str, sockets: bool, apart: bool) -> Optional[List[Instruction]]:
    """The filter as instructions of BPF; None for a machine whose numbers are not known.

    Without `sockets`, no socket can be made (pairs can), so that nothing outside is reached or listened to. `apart`
    means that namespaces keep it from files, processes and objects of others.
    """
    if machine not in ARCHITECTURES:
        return None
    column, audit = ARCHITECTURES[machine]
    refuse, missing = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
    code: List[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, audit),
        (RETURN, 0, 0, missing),  # of another architecture, with other numbers
        (LOAD, 0, 0, NUMBER),
        (JUMP_GREATER, 0, 1, NEWEST),
        (RETURN, 0, 0, missing),
    ]
    code += _all_of(REFUSED, column, refuse) + _all_of(HIDDEN_MEMORY, column, missing)
    if not apart:
        code += _of_a_shared_host(column, refuse, missing)
    code += [(JUMP_EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, missing)]  # its flags cannot be read; clone follows
    code += _of_call(CLONE[column], 0, [(JUMP_ANY, 0, 1, NAMESPACES), (RETURN, 0, 0, refuse)])
    code += _of_call(IOCTL[column], 1, _one_of(TERMINAL_INPUT if apart else TERMINAL_INPUT + FILE_FLAGS, refuse))
    code += _socket(SOCKET[column], sockets)
    return [*code, (RETURN, 0, 0, ALLOW)]


def _of_a_shared_host(column: int, refuse: int, missing: int) -> List[Instruction]:
    code = _all_of({**SHARED_OBJECTS, **WATCHES}, column, missing) + _all_of(ATTRIBUTES, column, NOTHING_DONE)
    for numbers in SCHEDULING.values():
        code += _of_call(int(numbers[column] or 0), 0, _unless(0, NOTHING_DONE))
    code += _of_call(PRLIMIT[column], 0, _unless(0, refuse))
    for call, one_process in ((SETPRIORITY, PRIO_PROCESS), (IOPRIO_SET, IOPRIO_WHO_PROCESS)):
        itself = [(LOAD, 0, 0, ARGUMENTS + 8), *_unless(0, NOTHING_DONE)]
        code += _of_call(call[column], 0, [*_unless(one_process, NOTHING_DONE), *itself])
    return code


def _all_of(calls: Mapping[str, Tuple[Optional[int], Optional[int]]], column: int, answer: int) -> List[Instruction]:
    """Instructions that give one answer to some system calls."""
    numbers = [each[column] for each in calls.values()]
    return _one_of(tuple(number for number in numbers if number is not None), answer)


def _unless(value: int, answer: int) -> List[Instruction]:
    """Instructions that give an answer unless the loaded value is this one."""
    return [(JUMP_EQUAL, 1, 0, value), (RETURN, 0, 0, answer)]


def _of_call(number: int, argument: int, checks: List[Instruction]) -> List[Instruction]:
    """Instructions that apply to the low half of an argument of one system call, and end its examination."""
    body = [(LOAD, 0, 0, ARGUMENTS + 8 * argument), *checks, (RETURN, 0, 0, ALLOW)]
    return [(JUMP_EQUAL, 0, len(body), number), *body]


def _one_of(values: Tuple[int, ...], answer: int) -> List[Instruction]:
    return [each for value in values for each in ((JUMP_EQUAL, 0, 1, value), (RETURN, 0, 0, answer))]


def _socket(number: int, sockets: bool) -> List[Instruction]:
    if not sockets:
        return [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno.EACCES)]
    return _of_call(number, 0, [*_one_of(FAMILIES, ALLOW), (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT)])


def apply(sockets: bool, apart: bool) -> bool:
    """Applies the filter to this process and everything that it starts. Returns False where there is none.

    Raises OSError.
    """
    code = program(os.uname().machine, sockets, apart)
    if code is None:
        return False
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    forbid_new_privileges()
    filtered = _Program(len(code), ctypes.addressof(buffer))
    check(libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(filtered), 0, 0), "seccomp")
    return True
