"""Exact thresholds against a 100-step loop over scikit-learn and against its precision-recall curve.
    python bench/thresholds.py [--quick]
    python bench/thresholds.py shrink    F1 on new images by how much a label's threshold is shrunk to the global one"""

import platform, statistics, sys, time, warnings
import numpy as np, sklearn, sklearn.metrics as skm, torch
from mlic.decisions.search import best_examples, best_micro, best_thresholds
from mlic.decisions.thresholds import LabelThresholds
from mlic.metrics import f1

torch.set_num_threads(1)
QUICK = '--quick' in sys.argv


def seconds(f, repeats=5):
    times = []
    for _ in range(repeats):
        t = time.perf_counter()
        f()
        times.append(time.perf_counter() - t)
    return statistics.median(times)


def data(N, K):
    rng = np.random.default_rng(0)
    y = (rng.random((N, K)) < 0.1).astype(np.int8)
    return np.clip(0.3 * y + 0.7 * rng.random((N, K)), 0, 1).astype(np.float32), y


def curve(s, y):
    out = []
    for k in range(s.shape[1]):
        p, r, _ = skm.precision_recall_curve(y[:, k], s[:, k])
        out.append((2 * p * r / np.maximum(p + r, 1e-12)).max())
    return np.array(out)


def scan(s, y, steps):
    return np.array(
        [max(skm.f1_score(y[:, k], s[:, k] > t, zero_division=0) for t in steps) for k in range(s.shape[1])]
    )


def together(s, y, average, steps=100):
    """One round of the usual search where labels depend on one another: of each label 100 thresholds, the others held
    at 0.5"""
    t = np.full(s.shape[1], 0.5, np.float32)
    for k in range(s.shape[1]):

        def value(a):
            t[k] = a
            return skm.f1_score(y, s > t, average=average, zero_division=np.nan)

        t[k] = max(np.linspace(0, 1, steps), key=value)
    return skm.f1_score(y, s > t, average=average, zero_division=np.nan)


def drawn(n, prev, rng, separation):
    y = (rng.random((n, len(prev))) < prev).astype(int)
    return 1/(1 + np.exp(-(rng.standard_normal(y.shape) + separation*y - 1 + np.log(prev)*.6))), y


def shrink():
    "Macro and micro F1 on new images, mean of 8 draws, by `shrink`"
    weights, few, many = (0, 1, 2, 5, 10, 20, 50), np.geomspace(.3, .01, 14), np.geomspace(.2, .001, 200)
    cases = {'14 labels, 400 images': (400, few, 2.), '14 labels, 2,000 images': (2000, np.geomspace(.3, .005, 14), 2.),
             '6 labels, 10,000 images': (10_000, np.geomspace(.4, .01, 6), 1.5),
             '200 labels, 1,000 images': (1000, many, 2.5)}
    print('| data | ' + ' | '.join(f'shrink={m}' for m in weights) + ' |\n|' + '---|'*(len(weights) + 1))
    for name, (n, prev, separation) in cases.items():
        values = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            fit, new = drawn(n, prev, rng, separation), drawn(8000, prev, rng, separation)
            rules = [LabelThresholds(shrink=m).fit(*fit) for m in weights]
            values.append([(f1(*new, r), f1(*new, r, 'micro')) for r in rules])
        print(f'| {name} | ' + ' | '.join(f'{a:.3f}, {b:.3f}' for a, b in np.mean(values, 0)) + ' |', flush=True)


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    if 'shrink' in sys.argv[1:]:
        sys.exit(shrink())
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, scikit-learn {sklearn.__version__}, numpy"
        f" {np.__version__}, torch {torch.__version__}, 1 thread, float32 scores, medians; the loop is 2 of its 100"
        " steps, times 50.\n"
    )
    print(
        '| N | K | `best_thresholds` | 100-step loop | ratio | `precision_recall_curve` | ratio'
        ' |\n|---|---|---|---|---|---|---|'
    )
    sizes = ((2000, 14), (5000, 20)) if QUICK else ((10_000, 14), (10_000, 80), (100_000, 14), (100_000, 80))
    for N, K in sizes:
        s, y = data(N, K)
        best = best_thresholds(s, y)[1]
        assert np.allclose(best, curve(s, y), atol=1e-9) and (best >= scan(s, y, (0.3, 0.5)) - 1e-12).all()
        a = seconds(lambda: best_thresholds(s, y))
        b, c = seconds(lambda: scan(s, y, (0.3, 0.5)), 1) * 50, seconds(lambda: curve(s, y), 3)
        print(
            f'| {N:,} | {K} | {a * 1000:.1f} ms | {b:.1f} s | {b / a:.0f}x | {c * 1000:.0f} ms | {c / a:.1f}x |',
            flush=True,
        )

    # the searched value is checked on a set that is small enough for the whole loop
    s, y = data(500, 4)
    for average, f in (('micro', best_micro), ('samples', best_examples)):
        assert (
            f(s, y)[1]
            if average == 'micro'
            else skm.f1_score(y, s > f(s, y)[0], average='samples', zero_division=np.nan)
        ) >= together(s, y, average) - 1e-9
    print(
        "\nF1 of all elements, and F1 by image: the thresholds depend on one another. The loop is one round over the"
        " labels, 100 values each, with `f1_score(average='micro'|'samples')`: 3 of its 100 K calls, extrapolated; it"
        " ends at a value no better than ours where it was run to its end (N = 500, K = 4).\n"
    )
    print(
        '| N | K | `best_micro` | loop | ratio | `best_examples`, 6 starts | loop | ratio'
        ' |\n|---|---|---|---|---|---|---|---|'
    )
    for N, K in sizes:
        s, y = data(N, K)
        m, e = seconds(lambda: best_micro(s, y), 3), seconds(lambda: best_examples(s, y), 1)
        lm, le = (
            seconds(lambda: skm.f1_score(y, s > 0.5, average=a, zero_division=np.nan), 3) * 100 * K
            for a in ('micro', 'samples')
        )
        print(
            f'| {N:,} | {K} | {m * 1000:.1f} ms | {lm:.0f} s | {lm / m:,.0f}x | {e:.2f} s | {le:.0f} s |'
            f' {le / e:,.0f}x |',
            flush=True,
        )
