"""The promises of the page on reproducibility: what may change without changing a digit, or how many digits it changes

Those about processes and clusters are in test_cluster.py, about kills in test_kill.py, about the order of variants also
in test_compare.py.
"""
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mlic.compare import Recipe, compare
from mlic.data.synth import digit_scenes, synth_planet, synth_xray

pytestmark = pytest.mark.slow
HEAD = Recipe(source='digit_scenes', design='replicates', replicates=2, n=60, n_valid=60, n_test=60, size=32,
              arch='test_resnet', train='head', cache=True, epochs=2, bs=16, lr=1e-2)
WHOLE = replace(HEAD, train='all', cache=False)
COLUMNS = ['train_loss', 'valid_loss', 'f1_macro', 'ap_macro', 'roc_auc_macro']


def numbers(recipe, store, **vary):
    d = compare(recipe, store, **vary).to_frame()
    return d.set_index(['variant', 'replicate'])[COLUMNS].sort_index()


@pytest.fixture(scope='module')
def usual(tmp_path_factory):
    "Two losses on stored activations, and a whole network"
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp('usual')
    return numbers(HEAD, store, loss=['bce', 'lsep']), numbers(WHOLE, store)


SCRIPT = """
import json, sys, torch
torch.set_num_threads(int(sys.argv[2]))
from pathlib import Path
from mlic.compare import Recipe, compare
recipe = Recipe.from_json(sys.argv[3])
d = compare(recipe, sys.argv[1]).to_frame()
print(json.dumps(d[['train_loss', 'valid_loss', 'f1_macro', 'ap_macro', 'roc_auc_macro']].to_numpy().tolist()))
"""


def in_process(folder, recipe, threads=1, **env):
    "The numbers that another process computes, with nothing of this one but the recipe"
    (folder/'script.py').write_text(SCRIPT)
    env = {**os.environ, 'MLIC_QUIET': '1', 'MLIC_CACHE': str(folder/'cache'), **env}
    command = [sys.executable, '-W', 'ignore', folder/'script.py', folder/'store', str(threads), recipe.to_json()]
    res = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder)
    assert res.returncode == 0, res.stderr[-2000:]
    return np.array(json.loads(res.stdout), float)


# ---- every digit -------------------------------------------------------------------------------------------------
def test_numbers_of_ones_own_between_calls_do_not_matter(usual, tmp_path):
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    torch.rand(100)
    pd.testing.assert_frame_equal(numbers(HEAD, tmp_path, loss=['bce', 'lsep']), usual[0], check_exact=True)
    pd.testing.assert_frame_equal(numbers(WHOLE, tmp_path), usual[1], check_exact=True)


def test_a_call_leaves_the_number_of_threads_as_it_was(tmp_path):
    before = torch.get_num_threads()
    numbers(HEAD, tmp_path)
    assert torch.get_num_threads() == before


def test_what_else_is_compared_does_not_matter(usual, tmp_path):
    alone = numbers(replace(HEAD, loss='lsep'), tmp_path)
    among = numbers(HEAD, tmp_path/'b', loss=['asl', 'lsep', 'bce'])
    np.testing.assert_array_equal(alone.loc['lsep'], usual[0].loc['lsep'])
    np.testing.assert_array_equal(among.loc['bce'], usual[0].loc['bce'])


@pytest.mark.parametrize('env', [dict(PYTHONHASHSEED='0'), dict(PYTHONHASHSEED='77'),
                                 dict(LC_ALL='C', TZ='Asia/Tokyo')], ids=str)
def test_another_process_gives_the_same_digits(usual, tmp_path, env):
    "In another folder, with another hash seed, locale and time zone"
    np.testing.assert_array_equal(in_process(tmp_path, WHOLE, **env), usual[1].to_numpy())
    np.testing.assert_array_equal(in_process(tmp_path, HEAD, **env), usual[0].loc['bce'].to_numpy())


# ---- generated data ----------------------------------------------------------------------------------------------
FINGERPRINTS = Path(__file__).with_name('generated.json') # of labels and boxes, from the machine that made them first


def facts(src):
    "Labels and boxes, which depend on no library's arithmetic"
    import hashlib
    boxes = np.round(src.truth['boxes'].astype(float), 3)
    return hashlib.sha256(src.Y.astype(np.uint8).tobytes() + boxes.tobytes()).hexdigest()[:16]


def test_generated_sets_are_those_of_other_machines(tmp_path):
    "The same labels and boxes as on the machine where the list was written"
    made = {f.__name__: facts(f(80, 32, seed=3, root=tmp_path/f.__name__))
            for f in (synth_xray, synth_planet, digit_scenes)}
    assert made == json.loads(FINGERPRINTS.read_text())


def test_generated_pixels_do_not_depend_on_threads(tmp_path):
    code = ("import sys, torch; torch.set_num_threads(int(sys.argv[1]))\n"
            "from mlic.data.synth import synth_xray; print(synth_xray(40, 32, seed=1, root=sys.argv[2]).fingerprint())")
    seen = set()
    for i, (threads, seed) in enumerate(((1, '0'), (2, '1'))):
        res = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, str(threads), tmp_path/f'{i}'],
                             capture_output=True, text=True, env={**os.environ, 'PYTHONHASHSEED': seed})
        seen.add(res.stdout)
    assert len(seen) == 1 and len(seen.pop().strip()) == 64


# ---- not every digit ---------------------------------------------------------------------------------------------
def test_threads_of_one_process_change_the_last_digits_alone(usual, tmp_path):
    "Sums are added in another order"
    two = in_process(tmp_path, WHOLE, threads=2, OMP_NUM_THREADS='2')
    gap = np.abs(two - usual[1].to_numpy())
    print(f'\ntwo threads instead of one: {gap[:, :2].max():.1e} in the losses, {gap[:, 2:].max():.1e} in the metrics')
    assert gap[:, :2].max() < 1e-4 and gap[:, 2:].max() < 1e-3
