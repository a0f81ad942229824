#!/usr/bin/env python3
"""Compiles the RocksDB sources of the crate librocksdb-sys into one static library, many files per compiler run.

Usage: rocksdb_unity.py CRATE_DIR OUT_DIR [CHUNKS=20] [JOBS=cores]
Called only by .ci/rocksdb, which owns the cache. CRATE_DIR is librocksdb-sys as cargo unpacked it; OUT_DIR receives librocksdb.a (and the
objects). Nearly all the time of a normal build goes into parsing the same headers for each of 300 files, so 20 chunks take
4 minutes where cargo's own build takes 14, and neither optimisation level nor compression libraries matter. A chunk whose files clash is split
in halves until it compiles. No compression library is built in: the Cargo features must not ask for one.
"""
import concurrent.futures as futures
import os
import subprocess
import sys

# The same defines as the crate's build script uses on Linux: both ways of building must give the same library.
DEFINES = """NDEBUG HAVE_ALIGNED_NEW HAVE_UINT128_EXTENSION OS_LINUX ROCKSDB_PLATFORM_POSIX ROCKSDB_LIB_IO_POSIX
ROCKSDB_SCHED_GETCPU_PRESENT ROCKSDB_AUXV_GETAUXVAL_PRESENT ROCKSDB_FALLOCATE_PRESENT ROCKSDB_RANGESYNC_PRESENT""".split()
# Hardware CRC32C: every machine that runs this has it (x86-64 since 2008), and without it checksums are slow.
MACHINE = {"x86_64": ["-msse4.2", "-mpclmul"]}


def compiler_flags(crate: str) -> list[str]:
    return ["-std=c++20", "-O2", "-fPIC", "-w", "-fno-strict-aliasing", "-ffunction-sections", "-fdata-sections", "-include", "cstdint",
            *MACHINE.get(os.uname().machine, []),
            f"-I{crate}", f"-I{crate}/rocksdb/include", f"-I{crate}/rocksdb", *[f"-D{name}" for name in DEFINES]]


def compile_chunk(out: str, flags: list[str], name: str, files: list[str]) -> list[str]:
    """Compiles `files` as one unit; gives the object files. Static names of two files may clash: then each half is tried alone."""
    unit, obj = f"{out}/{name}.cc", f"{out}/{name}.o"
    with open(unit, "w") as source:
        source.writelines(f'#include "{path}"\n' for path in files)
    done = subprocess.run(["g++", "-c", unit, "-o", obj, *flags], capture_output=True, text=True)
    if done.returncode == 0:
        return [obj]
    if len(files) == 1:
        raise SystemExit(f"{files[0]}: {done.stderr[-2000:]}")
    half = len(files) // 2
    return compile_chunk(out, flags, name + "a", files[:half]) + compile_chunk(out, flags, name + "b", files[half:])


def main() -> int:
    crate, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    chunks = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    jobs = int(sys.argv[4]) if len(sys.argv) > 4 else os.cpu_count() or 2
    os.makedirs(out, exist_ok=True)
    with open(f"{crate}/rocksdb_lib_sources.txt") as listing:
        names = [n.strip() for n in listing if n.strip() and n.strip() != "util/build_version.cc"]
    sources = [f"{crate}/rocksdb/{n}" for n in names]
    size = -(-len(sources) // chunks)
    work = [(f"u{i:02d}", sources[i * size:(i + 1) * size]) for i in range(chunks) if sources[i * size:(i + 1) * size]]
    work.append(("version", [f"{crate}/build_version.cc"]))
    flags = compiler_flags(crate)
    with futures.ThreadPoolExecutor(jobs) as pool:
        objects = [o for part in pool.map(lambda w: compile_chunk(out, flags, *w), work) for o in part]
    library = f"{out}/librocksdb.a"
    if os.path.exists(library):
        os.remove(library)
    subprocess.check_call(["ar", "rcs", library, *objects])
    print(library)
    return 0


if __name__ == "__main__":
    sys.exit(main())
