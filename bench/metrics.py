"""Metrics against scikit-learn and torchmetrics: time of the same numbers, in one run.
    .venv/bin/python bench/metrics.py [functions] [bootstrap] [learner] [coverage] [--quick]
Prints a table for each. Every timed pair is first checked to give the same number. `coverage` compares kinds of
bootstrap intervals on drawn samples whose true value is known; it takes minutes and no quiet machine."""

import os, sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
import time, warnings
from datetime import date
from statistics import median
from scipy.stats import norm
import numpy as np, sklearn, sklearn.metrics as skm, torch, torchmetrics
import torchmetrics.functional.classification as tmc
from mlic import metrics as M
from mlic.bootstrap import ci, resamples

warnings.filterwarnings('ignore')
torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
QUICK = '--quick' in sys.argv


def data(N, K, digits=None, seed=0):
    "float32 scores and targets: prevalence from .18 down to .002, as on chest radiographs; `digits` rounds, for ties"
    rng = np.random.default_rng(seed)
    targs = (rng.random((N, K)) < np.geomspace(0.18, 0.002, K)).astype(np.int64)
    probs = (1 / (1 + np.exp(-(rng.standard_normal((N, K)) + 1.5 * targs - 2)))).astype(np.float32)
    return (probs if digits is None else probs.round(digits)), targs


def timed(f, repeat=5, budget=8):
    "Median seconds of up to `repeat` runs (fewer when they are slow), and the value"
    ts, start = [], time.perf_counter()
    while len(ts) < repeat and (not ts or time.perf_counter() - start + ts[-1] < budget):
        a = time.perf_counter()
        v = f()
        ts.append(time.perf_counter() - a)
    return median(ts), v


def same(a, b, eps):
    assert np.allclose(a, b, rtol=0, atol=eps, equal_nan=True), (a, b)


def sk_macro(probs, targs): return [skm.average_precision_score(targs, probs), skm.roc_auc_score(targs, probs)]


def sk_f1s(probs, targs):
    return [skm.f1_score(targs, probs > .5, average=a, zero_division=np.nan) for a in ('macro', 'micro', 'samples')]


def sk_examples(probs, targs):
    some = targs.any(1)
    return skm.label_ranking_average_precision_score(targs[some], probs[some])


def tm_macro(probs, targs):
    K = probs.shape[1]
    return [f(probs, targs, K).item() for f in (tmc.multilabel_average_precision, tmc.multilabel_auroc)]


def tm_f1s(probs, targs):
    K = probs.shape[1]
    return [tmc.multilabel_f1_score(probs, targs, K, average=a).item() for a in ('macro', 'micro')]


def tm_examples(probs, targs):
    some = targs.any(1)
    return tmc.multilabel_ranking_average_precision(probs[some], targs[some], probs.shape[1]).item()


def our_examples(probs, targs): return M.average_precision(probs, targs, 'examples')
def our_macro(probs, targs): return [M.average_precision(probs, targs), M.roc_auc(probs, targs)]
def our_f1s(probs, targs): return [M.f1(probs, targs, average=a) for a in ('macro', 'micro', 'examples')]


PARTS = {'macro AP + macro AUC': (our_macro, sk_macro, tm_macro),
         'F1 macro, micro, examples': (our_f1s, sk_f1s, tm_f1s),
         'example-based AP': (our_examples, sk_examples, tm_examples)}


def functions(rows):
    for N,K in ((2000,14), (10_000,80)) if QUICK else ((2000,14), (100_000,14), (100_000,80)):
        probs, targs = data(N, K)
        tp, tt = torch.tensor(probs), torch.tensor(targs)
        for name, (ours, sk, tm) in PARTS.items():
            a, va = timed(lambda: ours(probs, targs))
            b, vb = timed(lambda: sk(probs, targs))
            c, vc = timed(lambda: tm(tp, tt))
            same(va, vb, 1e-9)
            same(va if np.isscalar(va) else va[:len(vc)], vc, 1e-3)
            add(rows, (name, f'{N:,}', K, a, b, c))
        a, va = timed(lambda: list(M.evaluate(probs, targs).values()))
        b, vb = timed(lambda: [*sk_f1s(probs, targs), sk_examples(probs, targs), *sk_macro(probs, targs)])
        c, _ = timed(lambda: (tm_f1s(tp, tt), tm_examples(tp, tt), tm_macro(tp, tt)))
        same(va, vb, 1e-9)
        add(rows, ('all six: `evaluate`', f'{N:,}', K, a, b, c))


def add(rows, row):
    rows.append(row)
    print(row, file=sys.stderr, flush=True)


def bootstrap(rows):
    N, K, n, few = 20_000, 14, 1000, 4
    probs, targs = data(N, K)
    sk_f1 = lambda p, t: skm.f1_score(t, p > .5, average='macro', zero_division=np.nan)
    cases = [('roc_auc', M.roc_auc, {}, lambda p, t: skm.roc_auc_score(t, p)),
             ('average_precision', M.average_precision, {}, lambda p, t: skm.average_precision_score(t, p)),
             ('f1', M.f1, {}, sk_f1),
             ('average_precision, examples', M.average_precision, dict(average='examples'), sk_examples)]
    for name, f, kw, sk in cases:
        W = np.concatenate(list(resamples(N, few))) # the same resamples for both
        draws = [np.repeat(np.arange(N), w) for w in W]
        same(f(probs, targs, sample_weight=W, **kw), [sk(probs[r], targs[r]) for r in draws], 1e-9)
        ours, _ = timed(lambda: ci(f, probs, targs, n=n, **kw), repeat=3)
        theirs, _ = timed(lambda: [sk(probs[r], targs[r]) for r in draws], repeat=3)
        add(rows, (name, ours, theirs/few*n))


def learner(rows):
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    import fastai.callback.progress  # noqa: F401 (it adds the bar to every Learner)

    class Batches(DataLoader):
        "The batches themselves, so that only metrics are timed"

        def __init__(self, xs, ys):
            super().__init__(list(range(len(xs))), bs=None)
            self.xs, self.ys = xs, ys

        def __iter__(self):
            yield from zip(self.xs, self.ys)

        def __len__(self):
            return len(self.xs)

    class Same(torch.nn.Module):
        "The scores as they are; fastai asks a model for a parameter to see its device"

        def __init__(self):
            super().__init__()
            self.zero = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x

    for N, K in ((2000, 14), (20_000, 80)):
        probs, targs = data(N, K)
        dl = Batches(torch.tensor(probs).split(64), torch.tensor(targs).float().split(64))
        learners = [
            Learner(DataLoaders(dl, dl), Same(), loss_func=torch.nn.BCEWithLogitsLoss(), metrics=m)
            for m in ([], [M.APMacro()], M.default_metrics())
        ]

        def run(learn):
            with learn.no_bar(), learn.no_logging():
                return timed(lambda: learn.validate(dl=dl), repeat=1)[0]

        t = np.array([[run(l) for l in learners] for _ in range(4 if QUICK else 16)])[
            1:
        ]  # in turn, the first round to warm up
        none, one, six = np.median(t[:, 0]), np.median(t[:, 1] - t[:, 0]), np.median(t[:, 2] - t[:, 0])
        rows.append((f'{N:,}', K, none, one, six))
        print(rows[-1], file=sys.stderr, flush=True)


def ms(s):
    return f'{s * 1e3:,.1f} ms' if s < 1 else f'{s:,.1f} s'


def intervals(metric, p, t, n, seed, kw):
    "95 % intervals of one set of resamples: percentiles, BCa (None for large N), basic, `ci`"
    N, got = len(p), ci(metric, p, t, n=n, seed=seed, **kw)
    if np.isnan(got.estimate):
        return None
    values = lambda W: metric(p, t, sample_weight=W, **kw)
    v = np.concatenate([values(W) for W in resamples(N, n, seed=seed)])
    v = v[~np.isnan(v)]
    low, high = np.quantile(v, [.025,.975])
    bounds = [(low, high), None, (2*got.estimate - high, 2*got.estimate - low), got[1:]]
    if N > 500:
        return got.estimate, bounds
    d = values(1 - np.eye(N, dtype=np.int32)) # the jackknife
    d = np.nanmean(d) - d[~np.isnan(d)]
    z0 = norm.ppf(np.clip((np.mean(v < got.estimate) + np.mean(v <= got.estimate))/2, .5/n, 1 - .5/n))
    acc = (d**3).sum()/(6*(d**2).sum()**1.5) if d.any() else 0.
    at = [norm.cdf(z0 + (z0+z)/(1 - acc*(z0+z))) for z in norm.ppf([.025,.975])]
    bounds[1] = np.quantile(v, at)
    return got.estimate, bounds


def coverage():
    """How often 95 % intervals of one set of resamples hold the truth. Percentiles; basic: reflected at the estimate;
    BCa: percentiles moved by bias and by the skewness of the jackknife (Efron 1987)."""
    reps, n = (20, 100) if QUICK else (300, 400)
    few, many = [.3*(.01/.3)**(k/13) for k in range(14)], [.3*(.005/.3)**(k/13) for k in range(14)]
    ap, auc, f1, at = M.average_precision, M.roc_auc, M.f1, dict(threshold=.4)
    cases = { # name: metric, arguments, images, prevalences, separation
        'AP of a label, 15 of 150': (ap, {}, 150, [.1], 1.5),
        'AP of a label, 10 of 500': (ap, {}, 500, [.02], 1.5),
        'macro AP, 5 labels, 15 of 300': (ap, {}, 300, [.05]*5, 1.2),
        'macro AP, 14 labels, 3 to 90 of 300': (ap, {}, 300, few, 1.2),
        'macro AP, 14 labels, 10 to 600 of 2000': (ap, {}, 2000, many, 1.2),
        'AP of images': (ap, dict(average='examples'), 300, [.3,.2,.1,.05], 1.2),
        'AUC of a label, 10 of 500': (auc, {}, 500, [.02], 1.5),
        'AUC .98, 15 of 150': (auc, {}, 150, [.1], 3.),
        'macro AUC, 14 labels, 3 to 90 of 300': (auc, {}, 300, few, 1.2),
        'F1 of a label, 15 of 150': (f1, at, 150, [.1], 1.5),
        'macro F1, 14 labels, 3 to 90 of 300': (f1, at, 300, few, 1.2),
        'hamming, 3 labels, 150 images': (M.hamming, at, 150, [.1]*3, 1.5)}
    print('| metric | true value | bias of the estimate | percentiles | BCa | basic | `ci` |')
    print('|---|---|---|---|---|---|---|', flush=True)
    worst = np.ones(4)
    percent = lambda x: '' if np.isnan(x) else f'{x:.0%}'
    for name, (metric, kw, N, prevalence, separation) in cases.items():
        rng = np.random.default_rng(0)
        def sample(N):
            t = (rng.random((N,len(prevalence))) < prevalence).astype(int)
            return 1/(1 + np.exp(1.2 - separation*t - rng.standard_normal(t.shape))), t
        truth = np.mean([metric(*sample(200_000), **kw) for _ in range(3)])
        held, bias = [], []
        for r in range(reps):
            if (found := intervals(metric, *sample(N), n, r, kw)) is None:
                continue
            estimate, bounds = found
            held.append([np.nan if b is None else b[0] <= truth <= b[1] for b in bounds])
            bias.append(estimate - truth)
        fraction = np.mean(held, 0)
        worst = np.fmin(worst, fraction)
        cells = ' | '.join(map(percent, fraction))
        print(f'| {name} | {truth:.3f} | {np.mean(bias):+.3f} | {cells} |', flush=True)
    print('| the worst | | | ' + ' | '.join(map(percent, worst)) + ' |\n')
    print(f'{reps} samples each, {n} resamples; the standard error of a fraction of 90 % is {(.09/reps)**.5:.1%}.')


def table(part):
    rows = []
    part(rows)
    if part is functions:
        print(
            '| metric | N | K | mlic | scikit-learn | torchmetrics | vs scikit-learn | vs torchmetrics'
            ' |\n|---|---|---|---|---|---|---|---|'
        )
        for n, N, K, a, b, c in rows:
            print(f'| {n} | {N} | {K} | {ms(a)} | {ms(b)} | {ms(c)} | {b / a:.1f}x | {c / a:.1f}x |')
    if part is bootstrap:
        print(
            '\nBootstrap, 1000 resamples, N = 20,000, K = 14. The scikit-learn loop is extrapolated from 4 resamples'
            ' (median of up to 3 runs of 4).\n\n| metric | `ci` | loop over scikit-learn (extrapolated) | ratio'
            ' |\n|---|---|---|---|'
        )
        for n, a, b in rows:
            print(f'| {n} | {ms(a)} | {ms(b)} | {b / a:.0f}x |')
    if part is learner:
        print(
            '\nIn a Learner: time that metrics add to one pass over the validation set in batches of 64 (pass without'
            ' metrics subtracted).\n\n| N | K | pass without metrics | APMacro alone adds | all six add | six / one'
            ' |\n|---|---|---|---|---|---|'
        )
        for N, K, z, a, b in rows:
            print(f'| {N} | {K} | {ms(z)} | {ms(a)} | {ms(b)} | {b / a:.2f} |')


if __name__ == '__main__':
    cpu = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), 'unknown CPU')
    print(
        f'{date.today()}, {cpu} ({os.cpu_count()} cores), torch {torch.__version__}, {torch.get_num_threads()}'
        f' thread(s), scikit-learn {sklearn.__version__}, torchmetrics {torchmetrics.__version__}, numpy'
        f' {np.__version__}; float32 scores, int64 targets, medians of up to 5 runs. scikit-learn is agreed with to'
        ' 1e-9 in the same run. torchmetrics has no example-based F1 in this form, so its column has one F1 less.\n'
    )
    asked = [a for a in sys.argv[1:] if a != '--quick'] or ['functions', 'bootstrap', 'learner']
    for name in asked:
        (
            coverage()
            if name == 'coverage'
            else table(dict(functions=functions, bootstrap=bootstrap, learner=learner)[name])
        )
