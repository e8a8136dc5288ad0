"""What the runner costs beside a bare loop, what a second process brings, how long a store takes to list. `python
bench/experiments.py [--quick] [overhead listing scaling]`"""

import contextlib, dataclasses, io, os, platform, shutil, sys, tempfile, time, warnings

os.environ['OMP_NUM_THREADS'] = '1'  # of the processes that joblib starts as well
warnings.simplefilter('ignore')
import torch
from pathlib import Path
from statistics import median
from mlic.data.loaders import dataloaders, items_of
from mlic.compare import DATASETS, Recipe, compare, splits_of, stored
from mlic.training.learner import mlic_learner, ms_per_image
from mlic.compare.record import FoldResult

QUICK = '--quick' in sys.argv
BASE = (
    Recipe(n=100, size=32, folds=2, epochs=2, bs=16, lr=1e-3)
    if QUICK
    else Recipe(n=300, size=64, folds=2, epochs=6, lr=1e-3)
)


def bare(recipe):
    "What one would write by hand: train each fold, keep the history, predict the test side"
    src = DATASETS[recipe.source](recipe)
    for fold, split in enumerate(splits_of(recipe, src)):
        dls = dataloaders(src, split, recipe.size, recipe.bs, recipe.tfms, seed=fold)
        learn = mlic_learner(dls, recipe.arch, recipe.head, recipe.loss)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(recipe.epochs, recipe.lr)
            learn.get_preds(dl=dls.test_dl(items_of(src, split.test), with_labels=True))


def seconds(f, *args, clock=time.perf_counter, **kwargs):
    start = clock()
    with contextlib.redirect_stdout(io.StringIO()):
        f(*args, **kwargs)  # no progress bar
    return clock() - start


def overhead(tmp, pairs=3):
    """Processor time of the runner beside the bare loop's, run in turn, for short and for longer training; the time
    per image, which is measured once for each shape of network, by itself"""
    src = DATASETS[BASE.source](BASE)  # the images are made once
    seconds(
        compare, dataclasses.replace(BASE, epochs=1), tmp / 'shape'
    )  # warm, and the time per image is in this store
    print(
        '| epochs | bare loop, for each fold | runner | runner / bare loop | runner - bare loop'
        ' |\n|---|---|---|---|---|'
    )
    for epochs in (1, BASE.epochs):
        recipe, times = dataclasses.replace(BASE, epochs=epochs), []
        for i in range(pairs):
            store = tmp / f'overhead{epochs}_{i}'
            shutil.copytree(tmp / 'shape' / 'speed', store / 'speed')
            times.append([
                seconds(f, recipe, *args, clock=time.process_time) / recipe.folds
                for f, args in ((bare, ()), (compare, (store,)))
            ])
        (one, other), ratio, more = (
            (median(t) for t in zip(*times)),
            median(b / a for a, b in times),
            median(b - a for a, b in times),
        )
        print(f'| {epochs} | {one:.2f} s | {other:.2f} s | {ratio:.3f} | {more:.2f} s |', flush=True)
    dls = dataloaders(src, splits_of(BASE, src)[0], BASE.size, BASE.bs)
    model, x = mlic_learner(dls, BASE.arch, BASE.head, BASE.loss).model, dls.valid.one_batch()[0]
    once = seconds(
        lambda: (ms_per_image(model, x[:1]), ms_per_image(model, torch.cat([x] * -(-64 // len(x)))[:64], repeats=3)),
        clock=time.process_time,
    )
    print(
        f'\nMedians of {pairs} pairs. The time per image (alone and in a batch of 64, warm) is not in these rows: it is'
        f' measured once in a store for each shape of network, and takes {once:.2f} s.\n'
    )


def scaling(tmp):
    "The same folds one after another and on two processes that are already there"
    recipe = dataclasses.replace(BASE, folds=4, epochs=2)
    start = seconds(compare, dataclasses.replace(recipe, n=40, size=32, epochs=1, folds=2), tmp / 'start', 2)
    times = {}
    for name, threads, jobs in (
        ('1 process, 1 thread', 1, 1),
        ('1 process, 2 threads', 2, 1),
        ('2 processes, 1 thread each', 1, 2),
    ):
        torch.set_num_threads(threads)
        times[name] = seconds(compare, recipe, tmp / name, jobs)
    first = next(iter(times.values()))
    print(
        f'{recipe.folds} folds; two processes start in {start:.1f} s, once, which is not counted below.\n\n| where |'
        ' seconds | speed |\n|---|---|---|'
    )
    for name, s in times.items():
        print(f'| {name} | {s:.1f} | {first / s:.2f} |', flush=True)


def replicates(tmp):
    "Seconds for a head of one replicate on stored activations, everything included, and for its learning rate"
    small = dict(n=100, n_valid=60, n_test=200, size=32, epochs=2) if QUICK else dict(n=2000, n_valid=1000, epochs=15)
    recipe = Recipe(design='replicates', replicates=2, train='head', cache=True, bs=64, lr=3e-3, **small)
    clock, losses = time.process_time, ['bce', 'asl', 'lsep', 'focal', 'wbce', 'softf1']
    first = seconds(compare, recipe, tmp / 'replicates', clock=clock, loss=['bce'])
    rest = seconds(compare, recipe, tmp / 'replicates', clock=clock, loss=losses)
    images = 2 * (recipe.n + recipe.n_valid) + recipe.n + recipe.n_valid + recipe.n_test
    grid = dataclasses.replace(recipe, lr='grid')
    both = seconds(compare, grid, tmp / 'replicates', clock=clock, loss=['bce'])
    each = rest / 2 / (len(losses) - 1)
    print('| what | processor seconds |\n|---|---|')
    print(f'| data and activations of {images} images, and 2 trainings | {first:.1f} |')
    print(f'| a variant on a replicate, scored on {recipe.n_test} images | {each:.2f} |')
    print(f'| the learning rate of a variant by the grid | {both - 2 * each:.2f} |\n')


def listing(tmp, results=1000):
    "A store of `results` folds of recipes that differ in their seed"
    seconds(compare, dataclasses.replace(BASE, epochs=1), tmp / 'shape')
    real = FoldResult(next((tmp / 'shape').glob('*/fold0')))
    for i in range(results):
        recipe = {**real.facts['recipe'], 'seed': i // 4}
        FoldResult.write(
            tmp / 'many' / f'{i // 4:016x}' / f'fold{i % 4}',
            {**real.facts, 'recipe': recipe, 'number': i % 4},
            real.history,
            real.scores,
        )
    stored(tmp / 'shape')  # warm
    took = seconds(stored, tmp / 'many')
    assert len(stored(tmp / 'many')) == results
    print(f'{results} stored results are listed in {took:.2f} s.\n')


if __name__ == '__main__':
    torch.set_num_threads(1)
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__};"
        f" resnet18 on {BASE.n} images at {BASE.size} px, {BASE.folds} folds, the six metrics after each epoch, 1"
        " thread, in processor time.\n"
    )
    with tempfile.TemporaryDirectory() as tmp:
        for part in [p for p in sys.argv[1:] if p != '--quick'] or ['overhead', 'replicates', 'listing', 'scaling']:
            globals()[part](Path(tmp))
