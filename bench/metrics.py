"""Metrics against scikit-learn and torchmetrics: time of the same numbers, in one run.
    .venv/bin/python bench/metrics.py [--quick]
Writes bench/results_metrics.md. Every timed pair is first checked to give the same number."""
import os, sys
os.environ.setdefault('OMP_NUM_THREADS', '1')
import time, warnings
from datetime import date
from pathlib import Path
from statistics import median
import numpy as np, sklearn, sklearn.metrics as skm, torch, torchmetrics
import torchmetrics.functional.classification as tmc
from mlic import metrics as M

warnings.filterwarnings('ignore')
torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
QUICK = '--quick' in sys.argv

def data(N, K, digits=None, seed=0):
    "Scores float32 and targets: prevalence from .18 down to .002, as on chest radiographs; `digits` rounds, for ties"
    rng = np.random.default_rng(seed)
    targs = (rng.random((N,K)) < np.geomspace(.18, .002, K)).astype(np.int64)
    probs = (1/(1 + np.exp(-(rng.standard_normal((N,K)) + 1.5*targs - 2)))).astype(np.float32)
    return (probs if digits is None else probs.round(digits)), targs

def timed(f, repeat=5, budget=8):
    "Median seconds of up to `repeat` runs (fewer when they are slow), and the value"
    ts, start = [], time.perf_counter()
    while len(ts) < repeat and (not ts or time.perf_counter() - start + ts[-1] < budget):
        a = time.perf_counter(); v = f(); ts.append(time.perf_counter() - a)
    return median(ts), v

def same(a, b, eps): assert np.allclose(a, b, rtol=0, atol=eps, equal_nan=True), (a, b)

def sk_macro(probs, targs): return [skm.average_precision_score(targs, probs), skm.roc_auc_score(targs, probs)]
def sk_f1s(probs, targs): return [skm.f1_score(targs, probs > .5, average=a, zero_division=np.nan) for a in ('macro','micro','samples')]
def sk_examples(probs, targs): some = targs.any(1); return skm.label_ranking_average_precision_score(targs[some], probs[some])
def tm_macro(probs, targs): return [f(probs, targs, probs.shape[1]).item() for f in (tmc.multilabel_average_precision, tmc.multilabel_auroc)]
def tm_f1s(probs, targs): return [tmc.multilabel_f1_score(probs, targs, probs.shape[1], average=a).item() for a in ('macro','micro')]
def tm_examples(probs, targs): some = targs.any(1); return tmc.multilabel_ranking_average_precision(probs[some], targs[some], probs.shape[1]).item()
def our_examples(probs, targs): return M.average_precision(probs, targs, 'examples')
def our_macro(probs, targs): return [M.average_precision(probs, targs), M.roc_auc(probs, targs)]
def our_f1s(probs, targs): return [M.f1(probs, targs, average=a) for a in ('macro','micro','examples')]

def functions(rows):
    for N,K in ((2000,14), (10_000,80)) if QUICK else ((2000,14), (100_000,14), (100_000,80)):
        probs, targs = data(N, K); tp, tt = torch.tensor(probs), torch.tensor(targs)
        for name, ours, sk, tm in (('macro AP + macro AUC', our_macro, sk_macro, tm_macro), ('F1 macro, micro, examples', our_f1s, sk_f1s, tm_f1s), ('example-based AP', our_examples, sk_examples, tm_examples)):
            (a, va), (b, vb), (c, vc) = timed(lambda: ours(probs, targs)), timed(lambda: sk(probs, targs)), timed(lambda: tm(tp, tt))
            same(va, vb, 1e-9); same(va if np.isscalar(va) else va[:len(vc)], vc, 1e-3)
            rows.append((name, f'{N:,}', K, a, b, c)); print(rows[-1], flush=True)
        a, va = timed(lambda: list(M.scores(probs, targs).values()))
        b, vb = timed(lambda: [*sk_f1s(probs, targs), sk_examples(probs, targs), *sk_macro(probs, targs)])
        c, _ = timed(lambda: (tm_f1s(tp, tt), tm_examples(tp, tt), tm_macro(tp, tt)))
        same(va, vb, 1e-9)
        rows.append(('all six: `scores`', f'{N:,}', K, a, b, c)); print(rows[-1], flush=True)

def bootstrap(rows):
    N, K, n, few = 20_000, 14, 1000, 4
    probs, targs = data(N, K)
    for name, f, kw, sk in (('roc_auc', M.roc_auc, {}, lambda p,t: skm.roc_auc_score(t, p)), ('average_precision', M.average_precision, {}, lambda p,t: skm.average_precision_score(t, p)),
                            ('f1', M.f1, {}, lambda p,t: skm.f1_score(t, p > .5, average='macro', zero_division=np.nan)), ('average_precision, examples', M.average_precision, dict(average='examples'), sk_examples)):
        same(M.ci(f, probs, targs, n=few, **kw), M.ci(sk, probs, targs, n=few), 1e-9)          # the same resamples
        ours, _ = timed(lambda: M.ci(f, probs, targs, n=n, **kw), repeat=3)
        theirs, _ = timed(lambda: [sk(probs[r], targs[r]) for r in np.random.default_rng(0).integers(N, size=(few,N))], repeat=3)
        rows.append((name, ours, theirs/few*n)); print(rows[-1], flush=True)

def learner(rows):
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    import fastai.callback.progress
    class Batches(DataLoader):
        "The batches themselves, so that only metrics are timed"
        def __init__(self, xs, ys): super().__init__(list(range(len(xs))), bs=None); self.xs, self.ys = xs, ys
        def __iter__(self): yield from zip(self.xs, self.ys)
        def __len__(self): return len(self.xs)
    class Same(torch.nn.Module):
        "The scores as they are; fastai asks a model for a parameter to see its device"
        def __init__(self): super().__init__(); self.zero = torch.nn.Parameter(torch.zeros(1))
        def forward(self, x): return x
    for N,K in ((2000,14), (20_000,80)):
        probs, targs = data(N, K)
        dl = Batches(torch.tensor(probs).split(64), torch.tensor(targs).float().split(64))
        def run(metrics):
            learn = Learner(DataLoaders(dl, dl), Same(), loss_func=torch.nn.BCEWithLogitsLoss(), metrics=metrics)
            with learn.no_bar(), learn.no_logging():
                learn.validate(dl=dl)
                return timed(lambda: learn.validate(dl=dl), repeat=7)[0]
        none, one, six = run([]), run([M.APMacro()]), run(M.default_metrics())
        rows.append((f'{N:,}', K, none, one - none, six - none)); print(rows[-1], flush=True)

def ms(s): return f'{s*1e3:,.1f} ms' if s < 1 else f'{s:,.1f} s'

if __name__ == '__main__':
    fun, boot, lrn = [], [], []
    functions(fun); bootstrap(boot); learner(lrn)
    cpu = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), 'unknown CPU')
    out = ['## Metrics', '', f'{date.today()}, {cpu} ({os.cpu_count()} cores), torch {torch.__version__}, {torch.get_num_threads()} thread(s), scikit-learn {sklearn.__version__}, torchmetrics {torchmetrics.__version__}, numpy {np.__version__}; float32 scores, int64 targets, medians of up to 5 runs. '
           'scikit-learn is agreed with to 1e-9 in the same run. torchmetrics has no example-based F1 in this form, so its column has one F1 less.', '',
           '| metric | N | K | mlic | scikit-learn | torchmetrics | vs scikit-learn | vs torchmetrics |', '|---|---|---|---|---|---|---|---|']
    out += [f'| {n} | {N} | {K} | {ms(a)} | {ms(b)} | {ms(c)} | {b/a:.1f}x | {c/a:.1f}x |' for n,N,K,a,b,c in fun]
    out += ['', 'Bootstrap, 1000 resamples, N = 20,000, K = 14. The scikit-learn loop is extrapolated from 4 resamples (median of up to 3 runs of 4).', '',
            '| metric | `ci` | loop over scikit-learn (extrapolated) | ratio |', '|---|---|---|---|']
    out += [f'| {n} | {ms(a)} | {ms(b)} | {b/a:.0f}x |' for n,a,b in boot]
    out += ['', 'In a Learner: time that metrics add to one pass over the validation set in batches of 64 (pass without metrics subtracted).', '',
            '| N | K | pass without metrics | APMacro alone adds | all six add | six / one |', '|---|---|---|---|---|---|']
    out += [f'| {N} | {K} | {ms(z)} | {ms(a)} | {ms(b)} | {b/a:.2f} |' for N,K,z,a,b in lrn]
    text = '\n'.join(out) + '\n'
    print(text)
    if not QUICK: (Path(__file__).parent/'results_metrics.md').write_text(text)
