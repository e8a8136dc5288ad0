"""The rates that the page on capacity calculates with: storing activations and training a head on them. A million items
by default. `python bench/capacity.py [items]` (prints its section of RESULTS.md)"""

import os, sys, tempfile, time, warnings

warnings.simplefilter('ignore')
os.environ.update(MLIC_QUIET='1', OMP_NUM_THREADS='1')
from pathlib import Path
import numpy as np, torch
from fastai.data.core import DataLoaders
from mlic.losses import LOSSES
from mlic.metrics import average_precision
from mlic.models.backbones import Stage
from mlic.models.heads import LinearHead
from mlic.training.activations import ActivationStore
from mlic.training.caching import ActivationLoader, CachedHead, CachedLearner
from mlic.training.optimizer import FusedAdam

LARGE, SMALL = 64, 5120  # features of the large store; items of the others
POINTS = [(512, 14), (512, 1000), (2048, 1000), (512, 10_000)]  # features and labels of the others


def measured(f):
    "Seconds of processor time and on the clock of `f()`"
    clock, cpu = time.perf_counter(), time.process_time()
    f()
    return time.process_time() - cpu, time.perf_counter() - clock


def fill(store, D, K):
    rng = np.random.default_rng(0)
    x, y = rng.random((store.shard, D), np.float32), (rng.random((store.shard, K)) < 0.1).astype(np.float32)
    for s in range(store.shards):
        n = len(store.items(s))
        store.write(s, [x[:n], y[:n]])


def epoch(store, D, K):
    "One epoch of a linear head, in batches of 64, without metrics"
    dls = DataLoaders(
        ActivationLoader(np.arange(store.n), store, bs=64, shuffle=True, drop_last=True),
        ActivationLoader(np.arange(64), store, bs=64),
    )
    head = CachedHead(LinearHead([Stage(D, 32)], K))
    learn = CachedLearner(dls, head, loss_func=LOSSES['bce'](), opt_func=FusedAdam, metrics=[])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)


def main(items=1_000_000):
    torch.set_num_threads(1)
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, 1 thread; processor time, clock in brackets.\n")
    print('| items | D | K | store | stored, per item | epoch, per item | epoch |\n|---|---|---|---|---|---|---|')
    for n, D, K in [(items, LARGE, 14)] + [(min(SMALL, items), D, K) for D, K in POINTS]:
        with tempfile.TemporaryDirectory() as tmp:
            store = ActivationStore(tmp, n)
            cpu, clock = measured(lambda: fill(store, D, K))
            size = sum(f.stat().st_size for f in Path(tmp).rglob('*.npy')) / 1e6
            epoch(ActivationStore(tmp), D, K) if n <= SMALL else None  # files into memory
            train, wall = measured(lambda: epoch(store, D, K))
        us = lambda seconds: f'{1e6 * seconds / n:.1f} µs'
        print(f'| {n:,} | {D} | {K:,} | {size:,.0f} MB | {us(cpu)} ({us(clock)}) | {us(train)} ({us(wall)}) |', end='')
        print(f' {train:.1f} s ({wall:.1f} s) |', flush=True)
    rng = np.random.default_rng(0)
    probs, targs = rng.random((20_000, 20), np.float32), rng.random((20_000, 20)) < 0.05
    cpu, _ = measured(lambda: average_precision(probs, targs))
    print(f'\nMacro AP of 20,000 images and 20 labels: {1e9 * cpu / probs.size:.0f} ns a score.')


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
