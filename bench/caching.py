"""What stored activations save, and what storing them costs. `python bench/caching.py` (about five minutes; prints its
section of RESULTS.md); with names of parts (64 128 grid disk) these alone, and MLIC_BENCH_FIGURES=FILE keeps the
figures of several calls"""

import contextlib, io, json, os, platform, statistics, subprocess, sys, tempfile, time, warnings

warnings.simplefilter('ignore')
from pathlib import Path
import numpy as np, torch
from fastai.data.core import DataLoaders
from mlic.models.backbones import Stage
from mlic.training.caching import ActivationLoader, CachedHead, CachedLearner, shuffle_block
from mlic.training.keys import activation_key
from mlic.training.activations import ActivationStore
from mlic.training.caching import cache_activations
from mlic.data.loaders import dataloaders
from mlic.models.heads import LinearHead
from mlic.training.callbacks import FrozenBody
from mlic.training.learner import mlic_learner
from mlic.training.optimizer import FusedAdam
from mlic.training.policy import Policy, fit_policy
from mlic.losses import LOSSES as losses
from mlic.data.synth import synth_xray
from mlic.data.splits import group_split, kfold
from steady import KEEP, steady


def seconds(f, n=2):
    "Mean seconds of `n` calls of `f()`, after one that is not counted"

    def once():
        t = time.perf_counter()
        f()
        return time.perf_counter() - t

    once()
    return statistics.mean(once() for _ in range(n))


def in_turn(n=7, **fs):
    """Median seconds of each of some calls, which take turns, after a round that is not counted; of one that returns
    seconds, these"""

    def once(f):
        t = time.perf_counter()
        got = f()
        return got if isinstance(got, float) else time.perf_counter() - t

    rounds = [{k: once(f) for k, f in fs.items()} for _ in range(n + 1)][1:]
    return {k: statistics.median(r[k] for r in rounds) for k in fs}


def fit(learn, epochs):
    with learn.no_bar(), learn.no_logging():
        return fit_policy(learn, epochs, Policy(lr=1e-3), seed=0).df


def plain_s(learn, n=1):
    "Seconds of an epoch of a plain PyTorch loop: body in eval mode without gradient, Adam on the head"
    body, head, loss = learn.model.body.eval(), learn.model.head, learn.loss_func
    opt = torch.optim.Adam(head.parameters(), 1e-3)

    def epoch():
        for x, y in learn.dls.train:
            with torch.no_grad():
                z = body(x)[-1].mean((2, 3))
            loss(head(z), y).backward()
            opt.step()
            opt.zero_grad()

    return seconds(epoch, n)


def bare_s(learn):
    """Seconds of the matrix work of a linear head's epoch: forward, loss, backward and Adam on activations that are in
    memory"""
    batches, head = list(learn.dls.train), learn.model.head
    opt, loss = torch.optim.Adam(head.parameters(), 1e-3), torch.nn.functional.binary_cross_entropy_with_logits

    def epoch():
        for x, y in batches:
            loss(head(x), y).backward()
            opt.step()
            opt.zero_grad()

    return seconds(epoch, 20)


def epochs_and_pass(size, n):
    "Seconds of an epoch in four ways, and of the caching pass and its parts"
    src = synth_xray(n, size=size, lift=4)
    split = group_split(src, (0.8, 0.2, 0))
    make = lambda **kw: mlic_learner(dataloaders(src, split, size=size, bs=64, tfms=None), 'resnet18', **kw)
    learn, frozen = make(), make(cbs=FrozenBody())
    items = [*learn.dls.train_ds.items, *learn.dls.valid_ds.items]
    dl, body, folders = learn.dls.test_dl(items, with_labels=True), learn.model.body.eval(), iter(range(99))
    with tempfile.TemporaryDirectory() as tmp:
        store = lambda: cache_activations(
            learn, f'{tmp}/{next(folders)}'
        )  # a new folder each time, so that nothing is found
        batches = [b[0].as_subclass(torch.Tensor) for b in dl]
        last = [torch.empty_like(x, memory_format=torch.channels_last).copy_(x) for x in batches]

        @torch.no_grad()
        def forward(xs):
            for x in xs:
                body(x)

        def decode():
            for b in dl:
                pass

        r = dict(
            images=len(frozen.dls.train) * 64,
            **in_turn(
                decode=decode,
                forward=lambda: forward(batches),  # noqa: F821 (deleted below)
                forward_last=lambda: forward(last),  # noqa: F821
                once=store,
                frozen=lambda: fit(frozen, 1).train_s[0],
                key=lambda: activation_key(learn),
            ),
        )  # an epoch drops the last batch
        del batches, last
        r['plain'], cached = plain_s(make()), store()
        r['cached'], r['bare'] = statistics.median(fit(cached, 30).train_s[1:]), bare_s(cached)
    return r


def grid(n, size=64, epochs=20, folds=5, names=('bce', 'wbce', 'focal', 'asl', 'lsep', 'softf1'), measured=2):
    """Seconds of losses x folds x epochs on stored activations, all of it; and uncached, from the second epoch of one
    fold of some losses"""
    src = synth_xray(n, size=size, lift=4)
    splits = kfold(src, folds)
    body = mlic_learner(dataloaders(src, splits[0], size=size, bs=64, tfms=None), 'resnet18').model.body
    make = lambda split, loss, **kw: mlic_learner(
        dataloaders(src, split, size=size, bs=64, tfms=None), body, loss=loss, **kw
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as tmp:
        for loss in names:
            for split in splits:
                fit(cache_activations(make(split, loss), tmp), epochs)
    cached = time.perf_counter() - start
    uncached = (
        statistics.mean(fit(make(splits[0], loss, cbs=FrozenBody()), 2).epoch_s.iloc[1] for loss in names[:measured])
        * len(names)
        * folds
        * epochs
    )
    return (
        uncached / cached,
        (
            f"{len(names)} losses x {folds} folds x {epochs} epochs at {size} px, with the metrics after each epoch:"
            f" {cached:.0f} s, measured as a whole with the caching pass and the search for the store each time;"
            f" {uncached:.0f} s with the frozen body, extrapolated from the second epoch of one fold of {measured}"
            f" losses: {uncached / cached:.0f}x."
        ),
    )


def fill(folder, limit_mb):
    "A store of four times `limit_mb`, of 512 random features"
    store, g = ActivationStore(folder, 4 * limit_mb * 2**20 // 2048), np.random.default_rng(0)
    x, y = g.random((store.shard, 512), np.float32), (g.random((store.shard, 14)) < 0.1).astype(np.float32)
    for s in range(store.shards):
        n = len(store.items(s))
        store.write(s, [x[:n], y[:n]])
    os.sync()  # pages that wait to be written cannot be dropped from memory


def larger_than_memory(folder, limit_mb):
    "Items/s through a Learner with the store in memory, and with `limit_mb` for its pages; in a process of its own"
    store, group = ActivationStore(folder), Path(f'/sys/fs/cgroup/memory/mlic_bench_{os.getpid()}')

    def within(f):
        "f() with the limit"
        (group / 'cgroup.procs').write_text(str(os.getpid()))
        try:
            return f()
        finally:
            (group.parent / 'cgroup.procs').write_text(str(os.getpid()))

    try:
        group.mkdir()
        (group / 'memory.limit_in_bytes').write_text(str(limit_mb * 2**20))
        how = f'in a control group of {limit_mb} MB (the process had its own memory before it was put there)'
        block = within(lambda: shuffle_block(store))  # as `cache_activations` chooses it there
    except OSError:
        within, block = (lambda f: f()), max(limit_mb * 2**20 // 8 // (store.shard * 2048), 1)
        how = 'without a limit, for want of the right to set one, but with nothing of the store in memory at the start'

    def rate(block, batches=None):
        dl = ActivationLoader(np.arange(store.n), store, bs=64, shuffle=True, drop_last=True, block=block)
        if batches:  # as much of an epoch, in its order, as the time allows
            idxs = dl.get_idxs()[: 64 * batches]
            dl = dl.new(shuffle=False, get_idxs=lambda: idxs, n=len(idxs))
        dls = DataLoaders(dl, ActivationLoader(np.arange(64), store, bs=64))
        learn = CachedLearner(
            dls,
            CachedHead(LinearHead([Stage(512, 32)], 14)),
            loss_func=losses['bce'](),
            opt_func=FusedAdam,
            metrics=[],
        )
        start = time.perf_counter()
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        return dl.n / (time.perf_counter() - start)

    def drop():
        store._maps.clear()
        for f in Path(folder).rglob('*.npy'):
            with open(f) as o:
                os.posix_fadvise(o.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    for s in range(store.shards):
        [a.sum() for a in store.arrays(s)]  # into memory
    memory = {b: max(rate(b) for _ in range(2)) for b in (block, None)}
    drop()
    blocks = within(lambda: rate(block))
    drop()
    alone = within(lambda: rate(None, 200))  # batches; the whole would take long
    if group.exists():
        group.rmdir()
    print(
        f'''A store of {4 * limit_mb} MB ({store.n:,} items of 512 features,
{store.shards} shards) {how}; items/s
through a Learner, linear head, batches of 64.
One epoch, in memory the better of two; from disk at random 200 batches.

| order | in memory | from disk | share |
|---|---|---|---|
| blocks of {block} shards | {memory[block]:,.0f} | {blocks:,.0f} | {blocks / memory[block]:.0%} |
| all at random | {memory[None]:,.0f} | {alone:,.0f} | {alone / memory[None]:.0%} |'''
    )
    print(blocks / memory[None])  # the last line is for the table of goals


def disk(n):
    "Its table, and the share of the rate in memory, by a process of its own"
    with tempfile.TemporaryDirectory() as tmp:
        limit = 100 if n >= 1000 else 25
        fill(tmp, limit)
        *table, share = (
            subprocess.run(
                [sys.executable, __file__, '--larger', tmp, str(limit)], stdout=subprocess.PIPE, text=True, check=True
            )
            .stdout.strip()
            .split('\n')
        )
    return float(share), '\n'.join(table)


parts = {'64': lambda n: epochs_and_pass(64, n), '128': lambda n: epochs_and_pass(128, n), 'grid': grid, 'disk': disk}


def main(n, names, file):
    got = json.loads(Path(file).read_text()) if file and Path(file).exists() else {}
    for name in names:
        with contextlib.redirect_stdout(io.StringIO()):
            got[name] = parts[name](n)  # no progress bars
        if file:
            Path(file).write_text(json.dumps(got))
    if len(got) == len(parts):
        report(n, got)
    else:
        print({name: got[name] for name in names})


def report(n, got):
    r, (grid_ratio, grid_text), (share, disk_text) = {s: got[s] for s in ('64', '128')}, got['grid'], got['disk']
    ratio, added = (
        lambda s, a, b: r[s][a] / r[s][b],
        lambda s, forward='forward': r[s]['once'] / (r[s]['decode'] + r[s][forward]),
    )
    per_image = lambda s: (r[s]['once'] / n) / (r[s]['frozen'] / r[s]['images'])
    print(
        f"## Cached activations\n\n{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, torch"
        f" {torch.__version__}, {torch.get_num_threads()} threads; resnet18 on {n} grey images (PNG), 80 % of them for"
        " training, batches of 64, linear head. glibc keeps large blocks of memory"
        f" ({', '.join(f'{k}={v}' for k, v in KEEP.items())}) for all sides of a ratio; as it comes it gives them back"
        " to the system and fetches them again for every batch. The training part of an epoch, without metrics. The"
        " bare work is forward, loss, backward and Adam of the head on batches that are in memory.\n"
    )
    print(
        '| size | frozen body, Learner | frozen body, plain PyTorch loop | cached, Learner | bare work of the head |'
        ' frozen Learner / cached | plain loop / cached | cached / bare |\n|---|---|---|---|---|---|---|---|'
    )
    for s, t in r.items():
        print(
            f"| {s} | {t['frozen']:.2f} s | {t['plain']:.2f} s | {1000 * t['cached']:.1f} ms | {1000 * t['bare']:.1f}"
            f" ms | {ratio(s, 'frozen', 'cached'):.0f}x | {ratio(s, 'plain', 'cached'):.0f}x |"
            f" {ratio(s, 'cached', 'bare'):.1f} |"
        )
    print(
        '\nThe caching pass, per image; it goes over the training and the validation side, once. It runs the body in'
        ' channels_last, which the Learner and a plain loop do not; the sum is taken with either forward. Medians of 7,'
        ' in turn.\n\n| size | decode alone | forward alone | in channels_last | hashes for the key | pass | pass /'
        ' (decode + forward) | with channels_last | pass / frozen epoch |\n|---|---|---|---|---|---|---|---|---|'
    )
    for s, t in r.items():
        print(
            '|',
            s,
            '|',
            ' | '.join(f'{1000 * t[k] / n:.2f} ms' for k in ('decode', 'forward', 'forward_last', 'key', 'once')),
            f"| {added(s):.2f} | {added(s, 'forward_last'):.2f} | {per_image(s):.2f} |",
        )
    print(f'\n{grid_text}\n\n{disk_text}')
    print('\n| goal | wanted | measured | |\n|---|---|---|---|')
    for name, sign, want, got in [
        ('frozen Learner / cached, 64 px', 1, 60, ratio('64', 'frozen', 'cached')),
        ('frozen Learner / cached, 128 px', 1, 100, ratio('128', 'frozen', 'cached')),
        *((f'cached / bare work of the head, {s} px', -1, 3, ratio(s, 'cached', 'bare')) for s in r),
        *((f'pass / (decode + forward in channels_last), {s} px', -1, 1.1, added(s, 'forward_last')) for s in r),
        *((f'pass / frozen epoch, per image, {s} px', -1, 1, per_image(s)) for s in r),
        ('losses x folds x epochs, frozen (extrapolated) / cached', 1, 50, grid_ratio),
        ('from disk by blocks / in memory at random', 1, 0.7, share),
    ]:
        print(
            f"| {name} | {'at least' if sign > 0 else 'at most'} {want:g} | {got:.2f} |"
            f" {'met' if sign * got >= sign * want else 'missed'} |"
        )


if __name__ == '__main__':
    steady()
    if sys.argv[1:2] == ['--larger']:
        larger_than_memory(sys.argv[2], int(sys.argv[3]))
    else:
        main(
            int(os.environ.get('MLIC_BENCH_N', 1000)), sys.argv[1:] or list(parts), os.environ.get('MLIC_BENCH_FIGURES')
        )  # fewer images, to try it out
