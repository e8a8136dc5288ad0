"""LSEP exact against the pairwise form, every loss against BCE, and growth with K. `python bench/losses.py [pairs]
[growth] [all] [lsep]`"""

import platform, subprocess, sys, time
from steady import KEEP, steady

if __name__ == '__main__':
    steady()  # else blocks that go to the system and back are most of a loss's time at K = 9605
import numpy as np, torch
import torch.nn.functional as F
from mlic.losses import BCELoss, LSEPLoss, PairwiseHingeLoss, LOSSES

torch.set_num_threads(1)


def data(N, K, positives=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(N, K, generator=g, requires_grad=True), (torch.rand(N, K, generator=g) < positives / K).float()


def once(loss, s, y):
    "Time of one forward and backward"
    s.grad = None
    t = time.perf_counter()
    loss(s, y).backward()
    return time.perf_counter() - t


def in_turn(losses, s, y, repeats=15):
    "Times of each loss, taken in turn after two rounds of warming up: (repeats, losses)"
    return np.array([[once(f, s, y) for f in losses] for _ in range(repeats + 2)])[2:]


def pairwise_lsep(s, y):
    "The vectorised pairwise form: all K x K differences of each image, masked"
    d = s[:, :, None] - s[:, None, :]  # [i, v, u]
    mask = (y[:, :, None] == 0) & (y[:, None, :] == 1)
    return torch.log1p((d.exp() * mask).sum((1, 2))).mean()


def pairwise_hinge(s, y):
    d = 1 + s[:, :, None] - s[:, None, :]
    return (d.clamp_min(0) * ((y[:, :, None] == 0) & (y[:, None, :] == 1))).sum((1, 2)).mean()


def peak_mb(which, N, K):
    "Extra memory of one step in a process of its own"
    code = (
        "import re, torch, sys; sys.path.insert(0, 'bench'); import losses as b\n"
        f"s, y = b.data({N}, {K}); loss = {which}; small = b.data(2, 5); loss(*small).backward()\n"
        "rss = lambda k: int(re.search(k + r':\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"  # forget the peak so far (Linux)
        "before = rss('VmRSS'); loss(s, y).backward(); print((rss('VmHWM') - before)/1024)"
    )
    return float(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)


ms = lambda t: f'{t * 1000:.3g} ms'


def pairs():
    print(
        '| loss | N | K | mlic | pairwise form | ratio | memory, mlic | memory, pairwise'
        ' |\n|---|---|---|---|---|---|---|---|'
    )
    for name, ours, theirs, code in (
        ('LSEP', LSEPLoss(), pairwise_lsep, ('b.LSEPLoss()', 'b.pairwise_lsep')),
        ('hinge', PairwiseHingeLoss(), pairwise_hinge, ('b.PairwiseHingeLoss()', 'b.pairwise_hinge')),
    ):
        for N, K in ((64, 80), (16, 1000)):
            s, y = data(N, K)
            want, got = theirs(s, y).item(), ours(s, y).item()
            assert abs(got - want) < 1e-3 * max(1, want)
            a, b = (
                np.median(in_turn([ours], s, y, 201)),
                np.median(in_turn([theirs], s, y, 7)),
            )  # each by itself: the large one empties the cache
            print(
                f'| {name} | {N} | {K} | {ms(a)} | {ms(b)} | {b / a:.0f}x | {peak_mb(code[0], N, K):.0f} MB |'
                f' {peak_mb(code[1], N, K):.0f} MB |'
            )


def growth():
    print(
        '\nLSEP alone, N = 16, and the exponent of K in a fit of log time over log K:\n\n| K | time | memory'
        ' |\n|---|---|---|'
    )
    Ks, ts = (1000, 3000, 9605, 30_000, 100_000), []
    for K in Ks:
        ts.append(np.median(in_turn([LSEPLoss()], *data(16, K), 41)))
        print(f"| {K:,} | {ms(ts[-1])} | {peak_mb('b.LSEPLoss()', 16, K):.0f} MB |")
    print(
        f'\nexponent: {np.polyfit(np.log(Ks), np.log(ts), 1)[0]:.2f}; from K = 9,605 on:'
        f' {np.polyfit(np.log(Ks[2:]), np.log(ts[2:]), 1)[0]:.2f}'
    )


def table(names=tuple(LOSSES)):
    print(
        '\nEvery loss, as a multiple of `F.binary_cross_entropy_with_logits` (no checks, no unknown targets) and of'
        f' `BCELoss`, N = 64, median of pairs taken in turn; instructions: {torch.backends.cpu.get_cpu_capability()}:\n'
    )
    sizes = (80, 1000, 9605)
    print('| loss | ' + ' | '.join(f'K={K:,}: F.bce | BCELoss' for K in sizes) + ' |\n|---|' + '---|---|' * len(sizes))
    rows = {n: [] for n in ('F.bce', *names)}
    for K in sizes:
        s, y = data(64, K)
        for n in rows:
            t = in_turn(
                (
                    F.binary_cross_entropy_with_logits,
                    BCELoss(),
                    LOSSES[n]().fit(y) if n != 'F.bce' else F.binary_cross_entropy_with_logits,
                ),
                s,
                y,
                201 if K == 80 else 41 if n in ('bce', 'lsep') else 11,
            )
            rows[n] += (
                [ms(np.median(t[:, 0])), '']
                if n == 'F.bce'
                else [f'{np.median(t[:, 2] / t[:, i]):.1f}' for i in (0, 1)]
            )
    for n, row in rows.items():
        print(f'| {n} | ' + ' | '.join(row) + ' |')


if __name__ == '__main__':
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, torch {torch.__version__}, 1"
        " thread, float32, forward + backward, medians; the allocator keeps its blocks"
        f" ({' '.join(f'{k}={v}' for k, v in KEEP.items())}).\n"
    )
    parts = dict(pairs=pairs, growth=growth, all=table, lsep=lambda: table(('bce', 'lsep')))
    for name in sys.argv[1:] or ('pairs', 'growth', 'all'):
        parts[name]()
