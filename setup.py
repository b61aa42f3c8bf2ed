"""Extensions and their switches; everything else is in pyproject.toml.

FASTPATH_SANITIZE=…   compiler sanitizers, such as address,undefined
FASTPATH_COVERAGE=1   tell tests/fuzz/coverage.c of every branch and comparison; compiles tests/fuzz/loop.pyx too
FASTPATH_ANNOTATE=1   write the yellow-line HTML beside each .pyx
FASTPATH_ONLY=a,b     build these rooms alone; - builds none
FASTPATH_FORCE=1      translate and compile even what looks unchanged
FASTPATH_C_DIR=…      where the C files of a variant go, so that they never meet those of the release build
FASTPATH_JOBS=2       how many rooms are translated at once
"""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

sanitize = os.environ.get("FASTPATH_SANITIZE", "")
coverage = os.environ.get("FASTPATH_COVERAGE") == "1"
annotate = os.environ.get("FASTPATH_ANNOTATE") == "1"
force = os.environ.get("FASTPATH_FORCE") == "1"
c_dir = os.environ.get("FASTPATH_C_DIR") or None
jobs = int(os.environ.get("FASTPATH_JOBS", "0"))
only = set(filter(None, os.environ.get("FASTPATH_ONLY", "").split(",")))

# No -march=native: what is built here may run on an older machine of the same kind. -O3 takes gcc a fifth longer than
# -O2 and gained nothing (encode 80 GSM 95 ns with both, 2026-11).
compile_args = ["-O2", "-fno-strict-aliasing", "-fno-plt", "-Wno-unused-function", "-Wno-sign-compare"]
# Python's own flags hold -g, which costs a quarter of gcc's time (template: 4.1 s with it, 2.9 s without).
if not sanitize:
    compile_args += ["-g0"]
# A stack that is overrun ends the process, and so does a copy longer than its room, where the compiler knows the room.
# Instructions for 2000 messages composed and 1000 answers read: 3.841 M without, 3.840 M with (callgrind, 2026-11-22).
if not sanitize:
    compile_args += ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
# Free of charge: tables of addresses are bound before the first octet of a stranger comes, and read-only from then on.
link_args = ["-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack"] if sys.platform.startswith("linux") else []
if sanitize:
    compile_args += [f"-fsanitize={sanitize}", "-g", "-O1", "-fno-omit-frame-pointer"]
    link_args += [f"-fsanitize={sanitize}"]
if coverage:
    compile_args += ["-fsanitize-coverage=trace-pc,trace-cmp"]

extensions = [
    Extension(
        f"_fastpath.{room}",
        [f"_fastpath/{room}.pyx"],
        include_dirs=["_fastpath"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for room in sorted(os.path.splitext(os.path.basename(path))[0] for path in glob("_fastpath/*.pyx"))
    if not only or room in only
]
if coverage:  # without the branches of its own: it is no subject of the search
    plain_args = [argument for argument in compile_args if "coverage" not in argument]
    extensions.append(
        Extension(
            "fuzzloop",
            ["tests/fuzz/loop.pyx"],
            include_dirs=["_fastpath"],
            extra_compile_args=plain_args,
            extra_link_args=link_args,
        )
    )

if __name__ == "__main__":  # cythonize's own workers import this file where processes are spawned
    setup(
        ext_modules=cythonize(
            extensions,
            # A changed directive is not noticed by cythonize's own time stamps.
            force=bool(force or sanitize or annotate),
            build_dir=c_dir,
            nthreads=jobs if len(extensions) > 1 else 0,
            annotate=annotate,
            quiet="-q" in sys.argv,
            compiler_directives={
                "language_level": 3,
                "boundscheck": False,
                "wraparound": False,
                "initializedcheck": False,
                "cdivision": True,
                "embedsignature": True,
                # No __test__ in the modules: the stubs would have to name it.
                "autotestdict": False,
            },
        )
    )
