"""Fit and predict of the classical classifiers on features, and against a plain scikit-learn loop. `python
bench/classical.py`"""

import argparse, platform, time, warnings
from datetime import date
import numpy as np, sklearn
from scipy.spatial.distance import cdist
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from mlic.metrics import average_precision
from mlic.classical import EnsembleClassifierChains, MLkNN, RAkEL, default_base, CLASSICAL

warnings.simplefilter('ignore')


def features(n, D, K, seed=0):
    "Features that are positive and correlated, as pooled maps are; labels that depend on them and on one another"
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 40))
    X = np.maximum(z @ rng.normal(size=(40, D)) * 0.3 + rng.normal(size=(n, D)) * 0.3 + 0.5, 0).astype(np.float32)
    s = z @ rng.normal(size=(40, K)) + rng.normal(size=(n, K)) * 3 + rng.normal(size=(n, 1)) * 2
    return X, (s > np.quantile(s, np.linspace(0.85, 0.995, K), axis=0).diagonal()).astype(np.uint8)


def timed(f):
    t = time.perf_counter()
    out = f()
    return time.perf_counter() - t, out


def scaled():
    return make_pipeline(StandardScaler(), default_base())


def loop_ecc(X, Y, Xv, orders, rows):
    "What one would write: scikit-learn chains one after the other"
    return np.mean(
        [ClassifierChain(scaled(), order=o).fit(X[r], Y[r]).predict_proba(Xv) for o, r in zip(orders, rows)], 0
    )


def loop_rakel(X, Y, Xv, subsets):
    "A classifier on the codes of each subset's label sets"
    total, seats = np.zeros((len(Xv), Y.shape[1])), np.zeros(Y.shape[1])
    for s in map(list, subsets):
        sets, code = np.unique(Y[:, s], axis=0, return_inverse=True)
        total[:, s] += scaled().fit(X, code.ravel()).predict_proba(Xv) @ sets
        seats[s] += 1
    return total / np.maximum(seats, 1)


def neighbours(X, Xv, k, dtype):
    "The plain way to k neighbours: all distances by scipy"
    return np.argpartition(cdist(Xv.astype(dtype), X.astype(dtype)), k, 1)[:, :k]


if __name__ == '__main__':
    arg = argparse.ArgumentParser(description=__doc__)
    for name, value in (('n', 20_000), ('D', 512), ('K', 14), ('small', 4000)):
        arg.add_argument(f'--{name}', type=int, default=value)
    a = arg.parse_args()
    X, Y = features(a.n + 2000, a.D, a.K)
    X, Y, Xv, Yv = X[: a.n], Y[: a.n], X[a.n :], Y[a.n :]
    print(
        f'## Classical systems\n\n{date.today()}, {platform.machine()}, scikit-learn {sklearn.__version__}, numpy'
        f' {np.__version__}, 1 process. N = {a.n:,} for training and {len(Xv):,} for prediction, D = {a.D}, K = {a.K},'
        f' {len(np.unique(Y, axis=0))} label sets, {Y.sum(1).mean():.2f} labels an image, made features.\n'
    )
    print('| system | fit | predict | mAP |\n|---|---|---|---|')
    for name, make in CLASSICAL.items():
        est = make(0)
        fit, _ = timed(lambda: est.fit(X, Y))
        pred, p = timed(lambda: est.predict_proba(Xv))
        print(f'| {name} | {fit:.1f} s | {pred:.2f} s | {average_precision(p, Yv):.3f} |', flush=True)

    x, y = X[: a.small], Y[: a.small]
    print(
        f'\nAgainst a plain loop over scikit-learn, N = {a.small:,}, same chains and subsets; the loop standardises the'
        ' features for each classifier, mlic once (largest difference of a score named):\n\n| system | mlic | with'
        ' n_jobs=2 | loop | loop / mlic | loop / n_jobs=2 | difference |\n|---|---|---|---|---|---|---|'
    )
    for name, make, loop in (
        (
            'ecc, 10 chains',
            lambda j: EnsembleClassifierChains(n_jobs=j, random_state=0),
            lambda e: loop_ecc(
                x,
                y,
                Xv,
                [c.order_ for c in e.chains_],
                [
                    np.random.RandomState(s).permutation(len(y))[: round(0.67 * len(y))]
                    for s in np.random.RandomState(0).randint(2**31 - 1, size=10)
                ],
            ),
        ),
        (
            f'rakel, {2 * a.K} subsets of 3',
            lambda j: RAkEL(voting='soft', n_jobs=j, random_state=0),
            lambda e: loop_rakel(x, y, Xv, e.subsets_),
        ),
    ):
        times = {}
        for j in (None, 2):
            times[j], (e, p) = timed(lambda: (lambda e: (e, e.predict_proba(Xv)))(make(j).fit(x, y)))
        slow, q = timed(lambda: loop(e))
        print(
            f'| {name} | {times[None]:.1f} s | {times[2]:.1f} s | {slow:.1f} s | {slow / times[None]:.2f} |'
            f' {slow / times[2]:.2f} | {np.abs(p - q).max():.1e} |',
            flush=True,
        )

    fast, est = timed(lambda: MLkNN(10).fit(X, Y))
    query, got = timed(lambda: est.neighbors_.kneighbors(Xv, return_distance=False))
    plain, want = timed(lambda: neighbours(X, Xv, 10, np.float64))
    same = np.mean([len(set(g) & set(w)) / 10 for g, w in zip(got, want)])
    print(
        f'\nML-kNN, neighbours of {len(Xv):,} among {a.n:,} in float32 blocks: {query:.2f} s; all float64 distances by'
        f' scipy: {plain:.2f} s, {plain / query:.1f} times; {same:.2%} of the neighbours are the same.'
    )
