"""Decisions and audit of labels at 100,000 images and 80 labels, beside MAPIE and cleanlab where they are installed.
    python bench/decisions.py [rules] [audit] [pairs] [--quick]
Processor time on one thread. MAPIE tries its grid of 100 thresholds image by image in Python: it is timed on 200
images, and cleanlab on 10,000, both scaled up."""

import os, sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
import importlib.util, time, warnings
import numpy as np
from mlic.decisions.expected import expected_fbeta_sets, gfm_sets
from mlic.decisions.risk import PrecisionControl, RecallControl

QUICK = '--quick' in sys.argv
N, K = (5000, 20) if QUICK else (100_000, 80)


def data(n=N):
    rng = np.random.default_rng(0)
    prevalence = np.geomspace(.3, .005, K)
    y = (rng.random((n, K)) < prevalence).astype(np.int8)
    s = 1/(1 + np.exp(-(rng.standard_normal(y.shape) + 2*y - 1 + np.log(prevalence)*.6)))
    return s.astype(np.float32), y


def seconds(f):
    start = time.process_time()
    f()
    return time.process_time() - start


def row(name, f, factor=1, note=''):
    "One line of the table; `factor`: what was timed is this part of the whole"
    print(f'| {name} | {seconds(f)*factor:.2f} s | {note} |', flush=True)


def there(name): return importlib.util.find_spec(name) is not None


def rules():
    s, y = data()
    for rule in (RecallControl(.9), RecallControl(.9, delta=.1), RecallControl(.9, 'macro'), PrecisionControl(.7),
                 PrecisionControl(.7, 'macro')):
        row(f'`{rule!r}`', lambda rule=rule: rule.fit(s, y))
    for beta in (1, 2):
        row(f'expected F{beta}, best set of each image', lambda beta=beta: expected_fbeta_sets(s, beta))
    p = np.random.default_rng(1).random((1000, K, 10))/K
    row('GFM with pairwise statistics, up to 10 labels', lambda: gfm_sets(p), N/1000, '1,000 images, scaled')
    if there('mapie'):
        from mapie.risk_control import MultiLabelClassificationController as Controller
        some = np.flatnonzero(y.any(1))[:200]
        for kw in (dict(risk='recall'), dict(risk='precision', method='ltt', confidence_level=.9)):
            controller = Controller(lambda p: p, target_level=.7, **kw)
            fit = lambda controller=controller: controller.calibrate(s[some], y[some].astype(int))
            row(f"MAPIE, {kw['risk']}", fit, N/len(some), f'grid of 100; {len(some)} images, scaled')


def audit():
    from mlic.interpret.label_audit import audit as of_labels
    s, y = data()
    wrong = np.where(np.random.default_rng(1).random(y.shape) < .01, 1 - y, y)
    row('`audit` of labels: errors, rules, unexplained images', lambda: of_labels(wrong, s))
    if there('cleanlab'):
        from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class as issues
        n = min(N, 10_000)
        labels = [list(np.flatnonzero(v)) for v in wrong[:n]]
        fit = lambda: issues(labels, s[:n], filter_by='confident_learning', n_jobs=1,
                             return_indices_ranked_by='self_confidence')
        row('cleanlab: label errors only', fit, N/n, f'{n:,} images, scaled')


def pairs():
    from mlic.interpret.duplicates import similar_pairs
    for n in (N//10, N):
        codes = np.random.default_rng(0).normal(size=(n, 104)).astype(np.float32)
        codes[n//2:n//2 + n//100] = codes[:n//100]*1.01 + .01
        search = lambda codes=codes: similar_pairs(codes, .88)
        row(f"near-duplicates among {n:,} image codes, every pair compared", search)


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    print(f'{N:,} images, {K} labels, processor time, one thread\n\n| what | time | |\n|---|---|---|')
    for name in [a for a in sys.argv[1:] if not a.startswith('-')] or ('rules', 'audit', 'pairs'):
        dict(rules=rules, audit=audit, pairs=pairs)[name]()
