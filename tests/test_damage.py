"""Every kind of file that the library writes and reads again, damaged: no wrong number is believed, no raw exception

Each kind is a folder, made once, and a function that reads it back. One bit of one file is flipped, or the end of one
is cut off; the answer must then be the one of the undamaged folder (the damage was found and made good, or lies where
nothing is read) or an `MLICError`. `pytest -m slow -s tests/test_damage.py` does 10,000 flips and 2,000 truncations
and prints a line per kind; without `-m slow`, 30 per kind.
"""
import hashlib
import random
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mlic.compare import Recipe, compare, pretrain
from mlic.compare.record import FoldResult
from mlic.core import MLICError
from mlic.data.audit import resize_images, scan
from mlic.data.loaders import dataloaders
from mlic.data.sources import make_source
from mlic.data.splits import random_split
from mlic.data.synth import digit_scenes
from mlic.deploy.bundle import load, save
from mlic.deploy.signature import sign
from mlic.store import once, quarantine, read_json, write_json
from mlic.training.activations import ActivationStore
from mlic.training.checkpoint import Checkpoint
from mlic.training.learner import mlic_learner
from mlic.training.policy import Policy, fit_policy

pytestmark = pytest.mark.filterwarnings('ignore')
RECIPE = Recipe(source='digit_scenes', design='replicates', replicates=2, n=20, n_valid=20, n_test=20, size=32,
                arch='test_resnet', train='head', cache=True, epochs=1, bs=8, lr=1e-2)


def answer(*values):
    "A short text that differs where a value does"
    h = hashlib.sha256()
    for v in values:
        if isinstance(v, (np.ndarray, torch.Tensor)):
            v = np.asarray(v)
            h.update(f'{v.dtype}{v.shape}'.encode() + v.tobytes())
        else:
            h.update(repr(v).encode())
    return h.hexdigest()


# ---- the kinds: make(folder) writes, and returns read(), which gives an answer --------------------------------------
def activations(folder, cache):
    "An activation store of three shards"
    X = np.random.default_rng(0).random((20, 4), np.float32)
    store = ActivationStore(folder/'s', n=20, shard=8)
    for s in range(store.shards):
        store.write(s, [X[store.items(s)], X[store.items(s), :1]])

    def read():
        with warnings.catch_warnings():
            opened = ActivationStore(folder/'s', n=20, shard=8) # as `cache_activations` opens it
        for s in opened.verify(): # and fills in what is missing
            opened.write(s, [X[opened.items(s)], X[opened.items(s), :1]])
        opened = ActivationStore(folder/'s')
        return answer(*opened.read(np.arange(20)))
    return read


def answers(folder, cache):
    "What is computed once: learning rates, times per image"
    made = dict(lr=.0251, tried={'0.01': .5}, end=False)
    once(folder/'lr'/'a.json', lambda: made)
    return lambda: answer(once(folder/'lr'/'a.json', lambda: made))


def findings(folder, cache):
    "A record of a chapter, a name index of activations"
    write_json(folder/'a.json', dict(store='x', items=[3, 1, 2], vocab=['a', 'ü'], groups=None))
    return lambda: answer(read_json(folder/'a.json'))


def results(folder, cache):
    "Folds of a comparison"
    compare(RECIPE, folder/'store', loss=['bce'])
    kept = sorted((folder/'store').glob('*/replicate*'))
    shutil.rmtree(folder/'store'/'activations')

    def read():
        return answer(*((r.facts, r.history.to_csv(), *r.scores.values()) for r in map(FoldResult, kept)))
    return read


def scans(folder, cache):
    "The memory of `scan`"
    rng = np.random.default_rng(0)
    for i in range(4):
        im = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        (cache/'photos').mkdir(exist_ok=True)
        im.save(cache/'photos'/f'{i}.png')
    table = pd.DataFrame(dict(fname=[f'{i}.png' for i in range(4)], labels=[['x']]*4))
    src = make_source('photos', cache/'photos', table)
    (cache/'photos'/'3.png').write_bytes((cache/'photos'/'2.png').read_bytes()[:-50])
    patch = pytest.MonkeyPatch()

    def read():
        with patch.context() as p:
            p.setenv('MLIC_CACHE', str(folder))
            found = scan(src, n_jobs=1)
        return answer(found.images.to_csv(), found.problems.to_csv())
    read()
    return read


def resized(folder, cache):
    "Small copies of images, and the list of them"
    rng, root = np.random.default_rng(0), cache/'originals'
    root.mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(root/f'{i}.png')
    src = make_source('p', root, pd.DataFrame(dict(fname=[f'{i}.png' for i in range(3)], labels=[['x']]*3)))

    def read():
        small = resize_images(src, 16, folder/'small', n_jobs=1)
        return answer(*(small.path(i).read_bytes() for i in range(3)))
    read()
    return read


def generated(folder, cache):
    "A generated set with its truth"
    def read():
        src = digit_scenes(6, 16, root=folder/'set')
        return answer(src.vocab, src.Y, *(np.asarray(Image.open(src.path(i))) for i in range(6)), src.truth['boxes'])
    read()
    return read


def weights(folder, cache):
    "Weights of a backbone that was trained first"
    def read(): return answer(Path(pretrain(RECIPE, folder/'store')).read_bytes())
    read()
    return read


def learner():
    src = digit_scenes(20, 32)
    torch.manual_seed(0)
    return mlic_learner(dataloaders(src, random_split(src, (.6, .4, 0)), 32, 8), 'test_resnet')


def bundles(folder, cache):
    "A bundle, as anyone loads it"
    save(learner(), folder/'model', thresholds=.4)
    image = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)

    def read():
        p = load(folder/'model')
        return answer(p.info, p.predict(image).probs)
    return read


def signed(folder, cache):
    "A signed bundle, whose signature is asked for"
    minisign = pytest.importorskip('minisign')
    save(learner(), folder/'model')
    pair = minisign.KeyPair.generate()
    (cache/'me.key').write_bytes(bytes(pair.secret_key))
    sign(folder/'model', cache/'me.key')
    public = pair.public_key.to_base64().decode()

    def read(): return answer(load(folder/'model', signed_by=public).info)
    return read


def checkpoints(folder, cache):
    "The state of a training"
    learn = learner()
    with learn.no_bar(), learn.no_logging():
        fit_policy(learn, 1, Policy(lr=1e-3), seed=0, checkpoint=folder/'state.pth')

    def read():
        saved = Checkpoint(folder/'state.pth')
        saved.read(learn)
        if saved.state is None: # renamed: the training starts anew
            return whole
        return answer(*saved.state['model'].values(), saved.state['random']['python'], saved.epoch_done)
    whole = read()
    return read


KINDS = { # kind: part of the flips and truncations (a slow one has fewer)
    activations: 2, answers: 2, findings: 2, results: 3, scans: 1, resized: 1, generated: 1, weights: .2, bundles: 1.5,
    signed: 1, checkpoints: 1}


def damaged(data, r, cut):
    "One bit changed, or the end cut off"
    if cut:
        return data[:r.randrange(len(data))]
    at = r.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << r.randrange(8)]) + data[at+1:]


def restored(folder, whole):
    "Put the folder back as it was"
    for f in [*folder.rglob('*')]:
        if f.is_file() and f not in whole:
            f.unlink()
    for f, data in whole.items():
        if not f.is_file() or f.read_bytes() != data:
            f.parent.mkdir(parents=True, exist_ok=True)
            f.write_bytes(data)


def attacked(kind, tmp_path, flips, cuts, seed=0):
    "Counts of what became of the damages of one kind of file; every believed one and raw exception is an entry"
    folder, cache, r = tmp_path/'files', tmp_path/'beside', random.Random(f'{kind.__name__} {seed}')
    folder.mkdir()
    cache.mkdir()
    read = kind(folder, cache)
    want = read()
    whole = {f: f.read_bytes() for f in sorted(folder.rglob('*')) if f.is_file() and 'lock' not in str(f)}
    names = [f for f in whole if whole[f]]
    count, bad = Counter(), []
    for i in range(flips + cuts):
        f = names[i % len(names)] # the small files as often as the large ones
        f.write_bytes(damaged(whole[f], r, i >= flips))
        try:
            got = read()
        except MLICError:
            count['refused'] += 1
        except Exception as e:
            bad.append(f'{f.name}: raw {type(e).__name__}: {e}')
        else:
            count['made good or not read'] += 1
            if got != want:
                bad.append(f'{f.name}: believed (number {i})')
        restored(folder, whole)
    return count, bad


def part(total, kind): return round(total*KINDS[kind]/sum(KINDS.values()))


@pytest.mark.parametrize('kind', KINDS, ids=lambda k: k.__name__)
def test_no_damage_is_believed(kind, tmp_path):
    n = 30 if KINDS[kind] >= 1 else 3
    count, bad = attacked(kind, tmp_path, n - n//4, n//4)
    assert not bad, bad[:5]
    assert sum(count.values()) == n


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS, ids=lambda k: k.__name__)
def test_no_damage_of_thousands_is_believed(kind, tmp_path):
    flips, cuts = part(10_000, kind), part(2_000, kind)
    count, bad = attacked(kind, tmp_path, flips, cuts, seed=1)
    print(f'\n{kind.__name__}: {flips} flips, {cuts} truncations; {dict(count)}; believed or raw: {len(bad)}')
    assert not bad, bad[:10]


def test_a_reader_that_believes_is_found(tmp_path):
    "The harness itself: a file without a checksum is believed, and a raw exception is seen"
    def naive(folder, cache):
        (folder/'a.txt').write_text('3.25')
        return lambda: answer(float((folder/'a.txt').read_text()))
    _, bad = attacked(naive, tmp_path, 40, 10)
    assert any('believed' in b for b in bad) and any('raw ValueError' in b for b in bad)


def test_what_is_quarantined_can_be_looked_at(tmp_path):
    (tmp_path/'a.json').write_text('x')
    with pytest.warns(UserWarning, match='kept as a.json.corrupt'):
        assert quarantine(tmp_path/'a.json', 'a test').read_text() == 'x'
