"""The target of the packages that this host gets."""

from __future__ import annotations

import sys
import sysconfig

PLATFORM = sysconfig.get_platform()
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TARGET = f"{PLATFORM}/py{PYTHON}"
