"""What precedes the first batch when activations are stored already: loaders, items, key, the look at the store.
`python bench/fixed_cost.py [images]` (prints its section of RESULTS.md)"""

import os, sys, tempfile, time, warnings

warnings.simplefilter('ignore')
os.environ.update(MLIC_QUIET='1', OMP_NUM_THREADS='1')
from pathlib import Path
import numpy as np, pandas as pd, torch
from PIL import Image
from mlic.data.loaders import dataloaders
from mlic.data.sources import Source
from mlic.data.splits import Split
from mlic.training.activations import ActivationStore
from mlic.training.caching import cache_activations
from mlic.training.keys import activation_key, stored_items
from mlic.training.learner import mlic_learner

D, K = 512, 14


def source(folder, n):
    "A table of `n` images of 16 pixels, a thousand links to each file: only their names and labels differ"
    im = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    rng, vocab = np.random.default_rng(0), [f'label {k}' for k in range(K)]
    names = []
    for i in range(n):
        if i % 1000 == 0:
            part = folder / f'{i:07}'
            part.mkdir()
            im.save(part / 'one.png')
        names.append(f'{part.name}/{i:07}.png')
        os.link(part / 'one.png', folder / names[-1])
    labels = [[vocab[k] for k in np.flatnonzero(row)] for row in rng.random((n, K)) < 0.1]
    return Source('links', folder, pd.DataFrame(dict(fname=names, labels=labels)), vocab)


def main(n=100_000):
    torch.set_num_threads(1)
    rows, done = [], {}

    def step(name, f):
        cpu = time.process_time()
        done[name] = f()
        rows.append((name, time.process_time() - cpu))
        return done[name]

    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        (folder / 'images').mkdir()
        src = source(folder / 'images', n)
        cut = int(0.8 * n)
        split = Split(np.arange(cut), np.arange(cut, n), np.arange(0))
        dls = step('`dataloaders`', lambda: dataloaders(src, split, size=16, bs=64, tfms=None))
        learn = mlic_learner(dls, 'resnet18')
        items, _ = step('`stored_items`', lambda: stored_items(dls))
        key = step('`activation_key`, first time: each file is read', lambda: activation_key(learn, items=items))
        step('`activation_key`, again', lambda: activation_key(learn, items=items))
        store = ActivationStore(folder / 'stores' / key, n)
        for s in range(store.shards):
            m = len(store.items(s))
            store.write(s, [np.zeros((m, D), np.float32), np.zeros((m, K), np.float32)])
        step('`store.verify`: each byte is read', store.verify)
        step('`cache_activations` as a whole, again', lambda: cache_activations(learn, folder / 'stores'))
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores; {n:,} images, {D} features, {K} labels, 1 thread.\n")
    print('| step | processor time |\n|---|---|')
    for name, seconds in rows:
        print(f'| {name} | {seconds:.2f} s |')


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
