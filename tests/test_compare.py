"""What a comparison promises: its numbers are of this recipe, these data and this code, or it says so"""
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config

from mlic.compare import DATASETS, Recipe, Results, compare, sets_of
from mlic.compare.record import FoldResult
from mlic.core import MLICError
from mlic.data.sources import from_csv
from mlic.data.synth import digit_scenes
from mlic.losses import LOSSES, BCELoss
from mlic.store import Damaged

HEAD = Recipe(source='digit_scenes', design='replicates', replicates=3, n=60, n_valid=60, n_test=100, size=32,
              arch='test_resnet', train='head', cache=True, epochs=3, bs=16, lr=1e-2)
NUMBERS = ['train_loss', 'valid_loss', 'f1_macro', 'ap_macro', 'ap_examples', 'roc_auc_macro']


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    "A store with three replicates of two losses"
    folder = tmp_path_factory.mktemp('store')
    compare(HEAD, folder, loss=['bce', 'lsep'])
    return folder


def numbers(results): return results.to_frame().set_index('variant')[NUMBERS]


# Data, code and versions

@pytest.fixture
def table(tmp_path):
    "A data set of the user's own, in a table that can be edited"
    src = digit_scenes(60, 32, seed=3)
    rows = pd.DataFrame(dict(fname=src.items.fname, labels=[' '.join(ls) for ls in src.items.labels]))
    csv = tmp_path/'labels.csv'
    rows.to_csv(csv, index=False)
    DATASETS.pop('mine', None)
    DATASETS['mine'] = lambda recipe: from_csv(csv, src.root, vocab=src.vocab)
    yield csv, rows
    DATASETS.pop('mine', None)


def test_other_labels_give_other_results(table, tmp_path):
    csv, rows = table
    recipe = Recipe(source='mine', folds=2, size=32, arch='test_resnet', train='head', cache=True, epochs=2, bs=16,
                    lr=1e-2)
    before = numbers(compare(recipe, tmp_path/'store'))
    rows.assign(labels=np.roll(rows.labels, 7)).to_csv(csv, index=False)
    after = numbers(compare(recipe, tmp_path/'store'))
    assert not np.allclose(before, after)
    rows.to_csv(csv, index=False)
    pd.testing.assert_frame_equal(numbers(compare(recipe, tmp_path/'store')), before, check_exact=True)


@pytest.mark.parametrize('facts, said', [(dict(code='old'), 'other code'), (dict(data='old'), 'other data'),
                                         (dict(versions=dict(torch='1.0')), 'torch was 1.0')])
def test_other_code_data_and_versions_are_computed_again(store, facts, said):
    before = numbers(compare(HEAD, store, loss=['bce', 'lsep']))
    folder = store/replace(HEAD, loss='lsep').key/'replicate1'
    r = FoldResult(folder)
    FoldResult.write(folder, {**r.facts, **facts, 'test': {m: 0. for m in r.facts['test']}}, r.history, r.scores)
    with pytest.warns(UserWarning, match=said):
        shown = compare(HEAD, store, loss=['bce', 'lsep'], read_only=True)
    assert (numbers(shown).ap_macro == 0).sum() == 1
    pd.testing.assert_frame_equal(numbers(compare(HEAD, store, loss=['bce', 'lsep'])), before, check_exact=True)


def test_reading_only_computes_nothing(store):
    with pytest.raises(MLICError, match='run it with read_only=False'):
        compare(HEAD, store, loss=['bce', 'asl'], read_only=True)
    assert not (store/replace(HEAD, loss='asl').key).exists()


def test_a_store_is_read_without_the_data(store):
    found = Results.from_store(store)
    want = numbers(compare(HEAD, store, loss=['bce', 'lsep']))
    pd.testing.assert_frame_equal(numbers(found).sort_index(), want.sort_index())


# Damage

def test_no_flipped_bit_is_believed(store, tmp_path):
    folder = next(store.glob('*/replicate0'))
    rng, held = np.random.default_rng(0), 0
    files = sorted(f for f in folder.iterdir())
    for i in range(240):
        copy = tmp_path/f'replicate{i}'
        copy.mkdir()
        for f in files:
            (copy/f.name).write_bytes(f.read_bytes())
        f = copy/files[i % len(files)].name
        data = bytearray(f.read_bytes())
        if i % 3 == 0:
            data = data[:int(rng.integers(len(data)))]
        else:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        f.write_bytes(data)
        with pytest.raises(Damaged):
            FoldResult(copy)
        held += 1
    assert held == 240


def test_a_damaged_result_is_kept_aside_and_computed_again(store):
    before = numbers(compare(HEAD, store, loss=['bce', 'lsep']))
    folder = store/HEAD.key/'replicate0'
    (folder/'history.csv').write_text('epoch,ap_macro\n0,0.99\n')
    with pytest.warns(UserWarning, match='cannot be used'):
        again = compare(HEAD, store, loss=['bce', 'lsep'])
    pd.testing.assert_frame_equal(numbers(again), before, check_exact=True)
    assert len(list((store/HEAD.key).glob('replicate0.corrupt_*'))) == 1


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may read everything')
def test_what_may_not_be_read_is_not_damage(store):
    file = store/HEAD.key/'replicate0'/'result.json'
    file.chmod(0)
    try:
        with pytest.raises(PermissionError):
            compare(HEAD, store, loss=['bce', 'lsep'])
    finally:
        file.chmod(0o644)
    assert file.exists()


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from dataclasses import replace
from mlic.compare import Recipe, compare
compare(Recipe(**{recipe!r}), sys.argv[1], loss=['bce', 'lsep'])
"""


@pytest.mark.slow
def test_a_killed_comparison_goes_on(store, tmp_path):
    "SIGKILL at five moments; what is finished is kept, the numbers are the same, nothing is left over"
    want, script = numbers(compare(HEAD, store, loss=['bce', 'lsep'])), tmp_path/'go.py'
    recipe = {k: v for k,v in json.loads(HEAD.to_json()).items()}
    script.write_text(SCRIPT.format(recipe=recipe))
    for i in range(5):
        folder = tmp_path/f'store{i}'
        run = subprocess.Popen([sys.executable, script, folder], start_new_session=True)
        while run.poll() is None and len(list(folder.glob('*/replicate*'))) < i:
            time.sleep(.01)
        time.sleep(.1*i)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        finished = {f: f.stat().st_mtime_ns for f in folder.glob('*/replicate*/result.json')}
        pd.testing.assert_frame_equal(numbers(compare(HEAD, folder, loss=['bce', 'lsep'])), want, check_exact=True)
        assert all(f.stat().st_mtime_ns == t for f,t in finished.items())
        assert not [f for f in folder.rglob('.unfinished_*')]


def test_names_of_variants_are_text(store):
    "A name that looks like a formula, Markdown or LaTeX neither ends a picture or a table nor is interpreted"
    r = compare(HEAD, store, loss=['bce', 'lsep'])
    bce, lsep = r.variants.values()
    hostile = Results({'$$': bce, '$\\frac{$': lsep, '[x](javascript:y)\n![z](http://e.org)': bce, '<b>&\\_%#^~': lsep})
    for draw in (hostile.plot_against, hostile.curves, hostile.scatter, hostile.critical_difference):
        axes = np.atleast_1d(draw()).flat[0]
        axes.figure.canvas.draw()
        plt.close(axes.figure)
    for format in ('markdown', 'latex', 'html'):
        text = hostile.table(format=format)
        assert format == 'latex' or '<b>' not in text.replace('\\<', ''), text
        assert format != 'markdown' or not re.search(r'(?<!\\)\]\(', text) and len(text.splitlines()) < 10, text


# Randomness

def test_threads_are_refused(tmp_path):
    with parallel_config('threading'), pytest.raises(MLICError, match='threads'):
        compare(replace(HEAD, seed=5), tmp_path, n_jobs=2)


def test_order_of_variants_does_not_matter(store, tmp_path):
    a, b = compare(HEAD, store, loss=['bce', 'lsep']), compare(HEAD, tmp_path, loss=['lsep', 'bce'])
    pd.testing.assert_frame_equal(numbers(a).sort_index(), numbers(b).sort_index(), check_exact=True)


def test_more_replicates_leave_the_first_as_they_are(store):
    few = compare(HEAD, store, loss=['bce', 'lsep']).to_frame()
    more = compare(replace(HEAD, replicates=4), store, loss=['bce', 'lsep']).to_frame()
    pd.testing.assert_frame_equal(few, more[more.replicate < 3].reset_index(drop=True))


def test_replicates_are_independent_and_variants_paired():
    sets = [sets_of(HEAD, i) for i in (0, 1, 'rate')]
    assert len({p.key for s in sets for p in s if p}) == 2*len(sets) + 1 # one test set for all
    assert sets[0].test.key == sets[1].test.key and sets[2].test is None
    other = sets_of(replace(HEAD, loss='lsep', head='mlp', epochs=9), 0)
    assert [p.key for p in other] == [p.key for p in sets[0]]


@pytest.mark.slow
def test_the_scale_of_a_loss_changes_no_verdict(tmp_path):
    "A loss times 100 has another best rate at most by a step of the grid, and the verdicts of the loss"
    class Hundredfold(BCELoss):
        def forward(self, *args): return 100*super().forward(*args)
    LOSSES['hundredfold'] = Hundredfold
    try:
        base = replace(HEAD, lr='grid', n=300, n_valid=200, n_test=1000, replicates=6, epochs=5)
        r = compare(base, tmp_path, loss=['lsep', 'bce', 'hundredfold'])
        verdicts = r.against().verdict
        assert verdicts['bce'] == verdicts['hundredfold']
        assert r.against('bce').verdict['hundredfold'] in ('equivalent', 'undecided')
    finally:
        LOSSES.pop('hundredfold')


# Recipes that a person, or an attacker, writes

ODD = ['n: abc', 'size: "64"', 'arch: 5', 'source: [a]', 'loss: {}', 'n: .nan', 'n: .inf', 'n: -5', 'epochs: 1.5',
       'epochs: 1e99', 'folds: 2.7', 'folds: 1', 'bs: 0', 'bs: 1', 'test: 1.5', 'test: -0.1', 'test: x',
       'test: published_', 'data_args: {lift: .nan}', 'data_args: {lift: x: y}', 'seed: -1', 'seed: 1.5',
       'seed: x', 'seed: null', 'lr: .inf', 'lr: true', 'lr: -1', 'lr: []', 'lr: [0.1, x]', 'weights: 5',
       'head: br', 'cache: true', 'cache: 1', 'train: body', 'track: nothing', 'by: patient',
       'design: replicates\nsource: voc2007', 'head_args: "steps: -1, x"', 'head_args: {steps: {a: 1}}',
       'loss_args: {gamma: 2}', 'a: &a [1]\nb: *a', 'tfms: &x [*x]', '[', '[1, 2]', 'text', '', '- 1', 'nosuch: 1',
       '? [a]\n: 1', 'n: 10\nn: 20\n  x', '\x00']


@pytest.mark.parametrize('text', ODD)
def test_odd_recipes_are_refused_by_name(text):
    with pytest.raises(MLICError):
        Recipe.from_yaml(text)


def test_deep_and_long_texts_end():
    for text in ('['*100_000, '{a: '*5_000, 'x'*200_000):
        with pytest.raises(MLICError):
            Recipe.from_yaml(text)
        with pytest.raises(MLICError):
            Recipe.from_json(text)


def test_numbers_are_read_as_papers_write_them():
    r = Recipe.from_yaml('lr: 1e-3\nn: 1e4\ntest: 0\nloss: asl\nloss_args: {clip: 1e-2}')
    assert (r.lr, r.n, r.test, r.arguments('loss_args')) == (.001, 10_000, 0., dict(clip=.01))
    assert Recipe.from_yaml(r.to_yaml()) == Recipe.from_json(r.to_json()) == r
