"""Sparse labels at 1,000,000 images and 20,000 labels, ten an image: statistics, folds and macro AP, with the memory
that each takes. `python bench/sparse.py [labels metrics]` (prints its section of RESULTS.md; each part in a process of
its own)"""

import os, resource, subprocess, sys, time

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MLIC_QUIET='1', MPLBACKEND='agg')
import numpy as np
from scipy.sparse import csr_array

N, K, PER_IMAGE, MEASURED = 1_000_000, 20_000, 10, 32  # MEASURED: labels whose AP is computed


def labels():
    "Labels by Zipf's law, without repeats in an image"
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(10, K + 10)
    drawn = np.searchsorted(np.cumsum(weights / weights.sum()), rng.random((N, PER_IMAGE)))
    rows = np.repeat(np.arange(N), PER_IMAGE)
    Y = csr_array((np.ones(rows.size, np.uint8), (rows, np.minimum(drawn, K - 1).ravel())), shape=(N, K))
    Y.data[:] = 1
    return Y


class Scores:
    "Float32 scores that are made when a block of labels is read: 80 GB would not fit on this disk"

    shape = (N, MEASURED)

    def __getitem__(self, at):
        first, stop = at[1].start, min(at[1].stop, MEASURED)
        return np.stack([np.random.default_rng(k).random(N, np.float32) for k in range(first, stop)], 1)


def measured(name, f):
    start = time.process_time()
    got = f()
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f'| {name} | {seconds:.1f} s | {peak:.2f} GB |', flush=True)
    return got


def of_labels():
    from mlic.data.labels import label_stats
    from mlic.data.splits import kfold

    Y = measured('labels are made', labels)
    stats = measured('`label_stats`', lambda: label_stats(Y))
    folds = measured('`kfold(Y, 5)`, stratified', lambda: kfold(Y, 5))
    print(f"\n{stats['LCard']:.2f} labels an image, {stats['LDiv']:,} labelsets.", end=' ')
    counts = np.array([Y[f.valid].sum(0) for f in folds], float)
    uneven = np.abs(counts - counts.mean(0)).max(0)
    print(f'Positives of a label in a fold differ from their mean by {uneven.mean():.2f} on average,', end=' ')
    print(f'{uneven.max():.0f} at most.')


def of_metrics():
    from mlic.metrics import average_precision
    from mlic.metrics.sparse import by_label

    Y = labels()[:, :MEASURED]
    ap = measured(f'macro AP, {MEASURED} labels', lambda: by_label(average_precision, Scores(), Y, block=16))
    assert not np.isnan(ap).any()


PARTS = dict(labels=of_labels, metrics=of_metrics)

if __name__ == '__main__':
    if sys.argv[1:2] == ['--one']:
        PARTS[sys.argv[2]]()
    else:
        for part in sys.argv[1:] or PARTS:
            print('| step | processor time, 1 thread | peak memory so far |\n|---|---|---|', flush=True)
            subprocess.run([sys.executable, __file__, '--one', part], check=True)
            print(flush=True)
