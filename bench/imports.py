"""What importing costs, as processor time of new processes that take turns. `python bench/imports.py [rounds]` (prints
its section of RESULTS.md)"""

import os, resource, statistics, subprocess, sys, time
from pathlib import Path

MLIC = str(Path(sys.executable).with_name('mlic'))
PYTHON = [sys.executable, '-c']
STARTS = {
    'python alone': [*PYTHON, 'pass'],
    '`import mlic`': [*PYTHON, 'import mlic'],
    '`mlic --help`': [MLIC, '--help'],
    '`from mlic.core import encode`': [*PYTHON, 'from mlic.core import encode'],
    '`import numpy`': [*PYTHON, 'import numpy'],
    '`import torch`': [*PYTHON, 'import torch'],
    '`from mlic.losses import LSEPLoss`': [*PYTHON, 'from mlic.losses import LSEPLoss'],
    '`from fastai.vision.all import *`': [*PYTHON, 'from fastai.vision.all import *'],
    '`from mlic.all import *`': [*PYTHON, 'from mlic.all import *'],
}
PAIRS = [  # what, beside what, at most
    ('`import mlic`', 'python alone', None),
    ('`from mlic.core import encode`', '`import numpy`', None),
    ('`from mlic.losses import LSEPLoss`', '`import torch`', 1.2),
    ('`from mlic.all import *`', '`from fastai.vision.all import *`', None),
]


def used(command):
    "Seconds of processor time, user and system, of one process and its children; and seconds on the clock"
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start


def main(rounds=5):
    os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
    for command in STARTS.values():  # files come into memory, byte code is written
        used(command)
    runs = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, command in STARTS.items():
            runs[name].append(used(command))
    print(f"{time.strftime('%Y-%m-%d')}, {rounds} rounds in turn after one that is not counted, 1 thread.\n")
    print('| start | processor time, median | least | on the clock, least |\n|---|---|---|---|')
    for name, seconds in runs.items():
        cpu, clock = zip(*seconds)
        print(f'| {name} | {statistics.median(cpu):.2f} s | {min(cpu):.2f} s | {min(clock):.2f} s |')
    print('\n| start | beside | ratio of processor times, median of pairs | goal |\n|---|---|---|---|')
    for name, other, most in PAIRS:
        ratio = statistics.median(a / b for (a, _), (b, _) in zip(runs[name], runs[other]))
        print(f"| {name} | {other} | {ratio:.2f} | {f'at most {most}' if most else ''} |")


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
