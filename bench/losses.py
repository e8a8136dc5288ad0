"""LSEP exact against the pairwise form, every loss against BCE, and growth with K. `python bench/losses.py`"""
import gc, platform, statistics, subprocess, sys, time
import numpy as np, torch
import torch.nn.functional as F
from mlic.losses import BCELoss, LSEPLoss, PairwiseHingeLoss, registry

torch.set_num_threads(1)


def data(N, K, positives=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(N, K, generator=g, requires_grad=True), (torch.rand(N, K, generator=g) < positives/K).float()


def seconds(loss, s, y, repeats=15):
    "Median time of one forward and backward"
    times = []
    for _ in range(repeats + 2):
        s.grad = None
        t = time.perf_counter()
        loss(s, y).backward()
        times.append(time.perf_counter() - t)
    return statistics.median(times[2:])


def pairwise_lsep(s, y):
    "The vectorised pairwise form: all K x K differences of each image, masked"
    d = s[:, :, None] - s[:, None, :]  # [i, v, u]
    mask = (y[:, :, None] == 0) & (y[:, None, :] == 1)
    return torch.log1p((d.exp()*mask).sum((1, 2))).mean()


def pairwise_hinge(s, y):
    d = 1 + s[:, :, None] - s[:, None, :]
    return (d.clamp_min(0)*((y[:, :, None] == 0) & (y[:, None, :] == 1))).sum((1, 2)).mean()


def peak_mb(which, N, K):
    "Extra memory of one step in a process of its own"
    code = ("import re, torch, sys; sys.path.insert(0, 'bench'); import losses as b\n"
            f"s, y = b.data({N}, {K}); loss = {which}; small = b.data(2, 5); loss(*small).backward()\n"
            "rss = lambda k: int(re.search(k + r':\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
            "open('/proc/self/clear_refs', 'w').write('5')\n" # forget the peak so far (Linux)
            "before = rss('VmRSS'); loss(s, y).backward(); print((rss('VmHWM') - before)/1024)")
    return float(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)


if __name__ == '__main__':
    ms = lambda t: f'{t*1000:.3g} ms'
    print(f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, float32, forward + backward, medians.\n")
    print('| loss | N | K | mlic | pairwise form | ratio | memory, mlic | memory, pairwise |\n|---|---|---|---|---|---|---|---|')
    for name, ours, theirs, code in (('LSEP', LSEPLoss(), pairwise_lsep, ('b.LSEPLoss()', 'b.pairwise_lsep')), ('hinge', PairwiseHingeLoss(), pairwise_hinge, ('b.PairwiseHingeLoss()', 'b.pairwise_hinge'))):
        for N, K in ((64, 80), (16, 1000)):
            s, y = data(N, K)
            assert abs(float(ours(s, y) - theirs(s, y))) < 1e-3*max(1, float(ours(s, y)))
            a, b = seconds(ours, s, y), seconds(theirs, s, y, 5)
            print(f'| {name} | {N} | {K} | {ms(a)} | {ms(b)} | {b/a:.0f}x | {peak_mb(code[0], N, K):.0f} MB | {peak_mb(code[1], N, K):.0f} MB |')
        gc.collect()

    print('\nLSEP alone, N = 16, and the exponent of K in a fit of log time over log K:\n\n| K | time | memory |\n|---|---|---|')
    Ks, ts = (1000, 3000, 9605, 30_000, 100_000), []
    for K in Ks:
        s, y = data(16, K)
        ts.append(seconds(LSEPLoss(), s, y))
        print(f"| {K:,} | {ms(ts[-1])} | {peak_mb('b.LSEPLoss()', 16, K):.0f} MB |")
    print(f'\nexponent: {np.polyfit(np.log(Ks), np.log(ts), 1)[0]:.2f}')

    print('\nEvery loss, as a multiple of `F.binary_cross_entropy_with_logits` (no checks, no unknown targets) and of `BCELoss`, N = 64:\n')
    sizes = (80, 1000, 9605)
    print('| loss | ' + ' | '.join(f'K={K:,}: F.bce | BCELoss' for K in sizes) + ' |\n|---|' + '---|---|'*len(sizes))
    table = {n: [] for n in registry}
    for K in sizes:
        s, y = data(64, K)
        plain, ours = seconds(F.binary_cross_entropy_with_logits, s, y, 41), seconds(BCELoss(), s, y, 41)
        for n in registry:
            t = seconds(registry[n](), s, y, 41 if n in ('bce', 'lsep') else 11)
            table[n] += [f'{t/plain:.1f}', f'{t/ours:.1f}']
    for n, row in table.items(): print(f'| {n} | ' + ' | '.join(row) + ' |')
