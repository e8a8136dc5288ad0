"""An epoch on stored activations against an epoch with the body run each step. `python bench/caching.py`"""
import contextlib, io, platform, statistics, tempfile, time, warnings
warnings.simplefilter('ignore')
import torch
from mlic.caching import cache_activations
from mlic.data import dataloaders
from mlic.learner import FrozenBody, Policy, fit_policy, mlic_learner
from mlic.sources import synth_xray
from mlic.splits import group_split


def epoch_s(learn, epochs):
    "Median seconds of the training part of an epoch, after the first"
    with learn.no_bar(), learn.no_logging(): h = fit_policy(learn, epochs, Policy(lr=1e-3), seed=0).df
    return statistics.median(h.train_s[1:])


if __name__ == '__main__':
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads; resnet18 on 1000 grey images (PNG), batches of 64, linear head, training part of an epoch without metrics.\n")
    print('| size | frozen body, fastai Learner | caching pass, once | cached epoch | frozen / cached | pass / frozen epoch |\n|---|---|---|---|---|---|')
    for size in (64, 128):
        src = synth_xray(1000, size=size, lift=4)
        split = group_split(src, (.8, .2, 0))
        make = lambda **kw: mlic_learner(dataloaders(src, split, size=size, bs=64, tfms=None), 'resnet18', **kw)
        frozen = epoch_s(make(cbs=FrozenBody()), 3)
        with tempfile.TemporaryDirectory() as tmp:
            t = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()): cached = cache_activations(make(), tmp) # no progress bar
            once = time.perf_counter() - t
            fast = epoch_s(cached, 30)
        n = len(split.train)
        print(f'| {size} | {frozen:.2f} s | {once:.2f} s for {len(src)} images | {fast*1000:.1f} ms | {frozen/fast:.0f}x | {once/len(src)*n/frozen:.2f} |')
