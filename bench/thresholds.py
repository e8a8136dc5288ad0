"""Exact thresholds against a 100-step loop over scikit-learn and against its precision-recall curve. `python bench/thresholds.py`"""
import platform, statistics, time
import numpy as np, sklearn, sklearn.metrics as skm, torch
from mlic.thresholds import best_micro, best_thresholds

torch.set_num_threads(1)


def seconds(f, repeats=5):
    times = []
    for _ in range(repeats):
        t = time.perf_counter()
        f()
        times.append(time.perf_counter() - t)
    return statistics.median(times)


def curve(s, y):
    out = []
    for k in range(s.shape[1]):
        p, r, _ = skm.precision_recall_curve(y[:, k], s[:, k])
        out.append((2*p*r/np.maximum(p + r, 1e-12)).max())
    return np.array(out)


def scan(s, y, steps):
    return np.array([max(skm.f1_score(y[:, k], s[:, k] > t, zero_division=0) for t in steps) for k in range(s.shape[1])])


if __name__ == '__main__':
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, scikit-learn {sklearn.__version__}, numpy {np.__version__}, 1 thread, float32 scores, medians; the loop is 2 of its 100 steps, times 50.\n")
    print('| N | K | `best_thresholds` | 100-step loop | ratio | `precision_recall_curve` | ratio | `best_micro` |\n|---|---|---|---|---|---|---|---|')
    for N, K in ((10_000, 14), (10_000, 80), (100_000, 14), (100_000, 80)):
        rng = np.random.default_rng(0)
        y = (rng.random((N, K)) < .1).astype(np.int8)
        s = np.clip(.3*y + .7*rng.random((N, K)), 0, 1).astype(np.float32)
        best = best_thresholds(s, y)[1]
        assert np.allclose(best, curve(s, y), atol=1e-9) and (best >= scan(s, y, (.3, .5)) - 1e-12).all()
        a = seconds(lambda: best_thresholds(s, y))
        b, c, m = seconds(lambda: scan(s, y, (.3, .5)), 1)*50, seconds(lambda: curve(s, y), 3), seconds(lambda: best_micro(s, y), 3)
        print(f'| {N:,} | {K} | {a*1000:.1f} ms | {b:.1f} s | {b/a:.0f}x | {c*1000:.0f} ms | {c/a:.1f}x | {m*1000:.1f} ms |')
