"""What the measurements ran on."""

import contextlib
import os
import shutil
import subprocess

import measure


def find_gpu():
    """The first GPU, or None where there is none."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError, ValueError):
        return measure.GPU()
    return None


def describe(gpu):
    """(name of the GPU or "", a phrase for the hardware)."""
    host = f"{len(os.sched_getaffinity(0))} cores of {processor()}, {memory() / 2**30:.0f} GiB"
    if gpu is None:
        return "", host
    name, total, driver, power = gpu.ask("name,memory.total,driver_version,power.limit").split(", ")
    return name, f"{name} ({int(total) / 1024:.0f} GiB, {power} W, driver {driver}), {host}"


def roomiest(*directories):
    """The directory with the most free space."""
    return max(filter(os.path.isdir, directories), key=lambda d: shutil.disk_usage(d).free)


def processor():
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return "an unnamed processor"


def memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
