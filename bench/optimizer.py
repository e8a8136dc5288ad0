"""The optimizer's step, and a training step with it: `FusedAdam` beside fastai's Adam, in turn. `python
bench/optimizer.py [--quick]`"""

import os, platform, sys, time, warnings

warnings.simplefilter('ignore')
import torch
from statistics import median
from fastai.optimizer import Adam
from torch import nn
from mlic.models.backbones import backbone
from mlic.models.heads import MLICModel, HEADS as heads
from mlic.training.learner import body_and_head
from mlic.training.optimizer import FusedAdam

QUICK = '--quick' in sys.argv


def network(arch):
    torch.manual_seed(0)
    body = backbone(arch)
    return MLICModel(body, heads['linear'](body.stages, 14))


def head():
    torch.manual_seed(0)
    return nn.Linear(512, 14)


def times(make, x, steps):
    "Median seconds of forward and backward, and of the step, for each optimizer; a step of one, a step of the other"
    y = (torch.rand(len(x), 14) < 0.2).float()
    pairs, seen = [], {}
    for opt_func in (Adam, FusedAdam):
        net = make()
        pairs.append((
            net,
            opt_func(body_and_head(net) if hasattr(net, 'body') else [list(net.parameters())], lr=1e-4),
            seen.setdefault(opt_func, []),
        ))
    for i in range(steps):
        for net, opt, rows in pairs if i % 2 else pairs[::-1]:
            t = [time.perf_counter()]
            nn.functional.binary_cross_entropy_with_logits(net(x), y).backward()
            t.append(time.perf_counter())
            opt.step()
            t.append(time.perf_counter())
            opt.zero_grad()
            if i >= steps // 5:
                rows.append((t[1] - t[0], t[2] - t[1]))
    return {o: [median(c) for c in zip(*rows)] for o, rows in seen.items()}


if __name__ == '__main__':
    print(
        f"## The optimizer\n\n{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, torch"
        f" {torch.__version__}, float32, 14 labels, medians, a step of one after a step of the other.\n"
    )
    print(
        '| network | batch | threads | forward + backward | step, fastai Adam | step, FusedAdam | ratio | whole'
        ' training step, ratio |\n|---|---|---|---|---|---|---|---|'
    )
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, make, x, steps in (
            ('resnet18', lambda: network('resnet18'), torch.randn(16, 3, 64, 64), 25),
            ('densenet121', lambda: network('densenet121'), torch.randn(16, 3, 64, 64), 15),
            ('linear head on 512 features', head, torch.randn(32, 512), 2000),
        ):
            t = times(make, x, 5 if QUICK else steps)
            (f, a), (g, b) = t[Adam], t[FusedAdam]
            print(
                f'| {name} | {len(x)} | {threads} | {(f + g) / 2 * 1e3:.3g} ms | {a * 1e3:.3g} ms | {b * 1e3:.3g} ms |'
                f' {a / b:.1f}x | {((f + g) / 2 + a) / ((f + g) / 2 + b):.2f}x |',
                flush=True,
            )
