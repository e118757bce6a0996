"""Where compiled kernels are kept between processes.

Numba notices a change of the file that holds a kernel, but not of the files it inlines; so the folder's name carries a
digest of all of them, and a new version of any compiles anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numba

HERE = Path(__file__).parent


def use_kernel_cache() -> None:
    """Point Numba at a folder of this version's kernels; `NUMBA_CACHE_DIR` overrides it."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    digest = hashlib.sha256()
    for source in sorted(HERE.glob("*.py")):
        digest.update(source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "attractor" / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:  # a read-only home, as in a container: still share between the processes of this machine
        folder = Path(tempfile.gettempdir()) / f"attractor-{os.getuid()}" / folder.name
    setattr(numba.config, "CACHE_DIR", str(folder))  # noqa: B010  (an attribute that exists at run time only)
