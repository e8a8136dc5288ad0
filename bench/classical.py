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
    fits = (ClassifierChain(scaled(), order=o).fit(X[r], Y[r]) for o,r in zip(orders, rows))
    return np.mean([chain.predict_proba(Xv) for chain in fits], 0)


def loop_rakel(X, Y, Xv, subsets):
    "A classifier on the codes of each subset's label sets"
    total, voters = np.zeros((len(Xv), Y.shape[1])), np.zeros(Y.shape[1])
    for s in map(list, subsets):
        sets, code = np.unique(Y[:,s], axis=0, return_inverse=True)
        total[:,s] += scaled().fit(X, code.ravel()).predict_proba(Xv) @ sets
        voters[s] += 1
    return total/np.maximum(voters, 1)


def neighbours(X, Xv, k, dtype):
    "The plain way to k neighbours: all distances by scipy"
    return np.argpartition(cdist(Xv.astype(dtype), X.astype(dtype)), k, 1)[:, :k]


def same_rows(n, chains=10, fraction=.67):
    "The images that each chain of `EnsembleClassifierChains(random_state=0)` is fitted on"
    seeds = np.random.RandomState(0).randint(2**31-1, size=chains)
    return [np.random.RandomState(s).permutation(n)[:round(fraction*n)] for s in seeds]


def fitted(est, x, y, xv):
    "The estimator and its scores"
    est.fit(x, y)
    return est, est.predict_proba(xv)


def table_of_all(X, Y, Xv, Yv):
    print('| classifier | fit | predict | mAP |\n|---|---|---|---|')
    for name,make in CLASSICAL.items():
        est = make(0)
        fit, _ = timed(lambda: est.fit(X, Y))
        predict, p = timed(lambda: est.predict_proba(Xv))
        print(f'| {name} | {fit:.1f} s | {predict:.2f} s | {average_precision(p, Yv):.3f} |', flush=True)


def table_of_loops(x, y, Xv):
    print(f'\nA plain loop over scikit-learn, N = {len(x):,}, with the same chains and subsets; the loop standardises '
          'the features for each classifier, mlic once (the largest difference of a score is in the last column):\n\n'
          '| classifier | mlic | with n_jobs=2 | loop | loop / mlic | loop / n_jobs=2 | difference |\n'
          '|---|---|---|---|---|---|---|')
    K = y.shape[1]
    cases = {
        'ecc, 10 chains': (lambda j: EnsembleClassifierChains(n_jobs=j, random_state=0),
                           lambda e: loop_ecc(x, y, Xv, [c.order_ for c in e.chains_], same_rows(len(y)))),
        f'rakel, {2*K} subsets of 3': (lambda j: RAkEL(n_jobs=j, random_state=0),
                                       lambda e: loop_rakel(x, y, Xv, e.subsets_))}
    for name,(make,loop) in cases.items():
        one, (e, p) = timed(lambda: fitted(make(None), x, y, Xv))
        two, _ = timed(lambda: fitted(make(2), x, y, Xv))
        slow, q = timed(lambda: loop(e))
        print(f'| {name} | {one:.1f} s | {two:.1f} s | {slow:.1f} s | {slow/one:.2f} | {slow/two:.2f} | '
              f'{np.abs(p-q).max():.1e} |', flush=True)


def neighbours_of_mlknn(X, Y, Xv):
    est = MLkNN(10).fit(X, Y)
    query, got = timed(lambda: est.neighbors_.kneighbors(Xv, return_distance=False))
    plain, want = timed(lambda: neighbours(X, Xv, 10, np.float64))
    same = np.mean([len(set(g) & set(w))/10 for g,w in zip(got, want)])
    print(f'\nML-kNN, neighbours of {len(Xv):,} among {len(X):,} in float32 blocks: {query:.2f} s; all float64 '
          f'distances by scipy: {plain:.2f} s, {plain/query:.1f} times; {same:.2%} of the neighbours are the same.')


if __name__ == '__main__':
    arg = argparse.ArgumentParser(description=__doc__)
    for name,value in (('n', 20_000), ('D', 512), ('K', 14), ('small', 4000)):
        arg.add_argument(f'--{name}', type=int, default=value)
    a = arg.parse_args()
    X, Y = features(a.n + 2000, a.D, a.K)
    X, Y, Xv, Yv = X[:a.n], Y[:a.n], X[a.n:], Y[a.n:]
    print(f'## Classical classifiers\n\n{date.today()}, {platform.machine()}, scikit-learn {sklearn.__version__}, '
          f'numpy {np.__version__}, 1 process. N = {a.n:,} for training and {len(Xv):,} for prediction, D = {a.D}, '
          f'K = {a.K}, {len(np.unique(Y, axis=0))} label sets, {Y.sum(1).mean():.2f} labels an image, '
          'generated features.\n')
    table_of_all(X, Y, Xv, Yv)
    table_of_loops(X[:a.small], Y[:a.small], Xv)
    neighbours_of_mlknn(X, Y, Xv)
