"""Killed anywhere: nothing lost, the same numbers, nothing left over

Each work is done once without disturbance. Then, again and again in a fresh folder, a process that does it is stopped
at a random moment before its usual end, and another process does it once more. Afterwards the answer must be the
undisturbed one, what had been finished must not have been done again, and no half-written file may be there.
`make test` stops each work once or twice; `pytest -m slow -s tests/test_kill.py` 30 times by SIGKILL, 10 by SIGTERM and
Ctrl-C, and prints a line per series.
"""
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mlic.compare import Recipe, compare, pretrain
from mlic.data.audit import resize_images, scan
from mlic.data.loaders import dataloaders
from mlic.data.sources import make_source
from mlic.data.splits import random_split
from mlic.data.synth import digit_scenes
from mlic.deploy.bundle import load, save
from mlic.store import sha256
from mlic.training.activations import ActivationStore
from mlic.training.caching import cache_activations
from mlic.training.learner import mlic_learner
from mlic.training.policy import Policy, fit_policy

pytestmark = [pytest.mark.filterwarnings('ignore'),
              pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')]
HEAD = Recipe(source='digit_scenes', design='replicates', replicates=3, n=60, n_valid=60, n_test=100, size=32,
              arch='test_resnet', train='head', cache=True, epochs=2, bs=16, lr=(1e-3, 1e-2))
WHOLE = replace(HEAD, train='all', cache=False, lr=1e-3, replicates=2)
NUMBERS = ['train_loss', 'valid_loss', 'f1_macro', 'ap_macro', 'roc_auc_macro']


# ---- the works: each writes below `folder` and returns an answer that JSON can hold ---------------------------------
def photos(folder, n=40):
    "The same images each time"
    root, rng = folder/'photos', np.random.default_rng(0)
    if not root.exists():
        root.mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (150, 120, 3), dtype=np.uint8)).save(root/f'{i:02}.png')
    table = pd.DataFrame(dict(fname=[f'{i:02}.png' for i in range(n)], labels=[['x']]*n))
    return make_source('photos', root, table)


def learner(n=60):
    src = digit_scenes(n, 32)
    torch.manual_seed(0)
    return mlic_learner(dataloaders(src, random_split(src, (.6, .4, 0)), 32, 8), 'test_resnet')


def scanned(folder):
    found = scan(photos(folder), n_jobs=1)
    return [found.images.to_csv(), found.problems.to_csv()]


def resized(folder):
    small = resize_images(photos(folder), 40, folder/'small', n_jobs=1)
    return [sha256(small.path(i)) for i in range(len(small))]


def generated(folder):
    src = digit_scenes(200, 32)
    return [src.fingerprint(), float(src.truth['boxes'].sum())]


def cached(folder):
    cached = cache_activations(learner(900), folder/'activations') # two shards
    store = cached.dls.train.store
    assert store.verify() == []
    return sha256(np.ascontiguousarray(store.read(np.arange(store.n))[0].numpy()).tobytes())


def numbers(results): return results.to_frame().set_index(['variant', 'replicate'])[NUMBERS].to_csv()
def compared(folder): return numbers(compare(HEAD, folder/'store', loss=['bce', 'lsep']))
def compared_on_images(folder): return numbers(compare(WHOLE, folder/'store'))
def compared_in_two(folder): return numbers(compare(HEAD, folder/'store', n_jobs=2, loss=['bce', 'lsep']))
def pretrained(folder): return sha256(Path(pretrain(WHOLE, folder/'store')))


def trained(folder):
    "Resumes from its checkpoint: the same weights to 1e-6"
    learn = learner()
    with learn.no_bar(), learn.no_logging():
        fit_policy(learn, 4, Policy(lr=1e-3), seed=0, checkpoint=folder/'state.pth')
    return [f'{float(p.detach().double().abs().sum()):.5g}' for p in learn.model.parameters()]


def saved(folder):
    "Replaces a bundle; what stands in its place can be loaded at any time"
    save(learner(20), folder/'model', thresholds=.4)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8))
    return load(folder/'model').predict(image).probs.tolist()


def predicted(folder):
    if not (folder/'model').exists():
        save(learner(20), folder/'model')
    prediction = load(folder/'model').predict([photos(folder).path(i) for i in range(40)], bs=4)
    return prediction.to_csv(folder/'predictions.csv').read_text().replace(str(folder), '')


WORKS = [scanned, resized, generated, cached, compared, compared_on_images, pretrained, trained, saved, predicted]


# ---- processes ------------------------------------------------------------------------------------------------------
def start(work, folder, fork=os.fork):
    "A process that does the work below `folder`; its answer will be in answer.json, its error in error.txt"
    folder.mkdir(parents=True, exist_ok=True)
    pid = fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(MLIC_CACHE=str(folder/'cache'), MLIC_QUIET='1')
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(folder/'stderr.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        torch.set_num_threads(1)
        warnings.simplefilter('ignore')
        found = work(folder)
        (folder/'answer.json').write_text(json.dumps(found))
        os._exit(0)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        (folder/'error.txt').write_text(traceback.format_exc())
        os._exit(1)


def done(work, folder):
    "The answer of a process that nothing disturbs"
    _, status = os.waitpid(start(work, folder), 0)
    error = folder/'error.txt'
    assert status == 0, error.read_text() if error.exists() else (folder/'stderr.txt').read_text()[-3000:]
    return json.loads((folder/'answer.json').read_text())


def finished(folder):
    "What is complete: results of folds, shards of activations, sets and answers, with the time they were written"
    kinds = 'store/*/replicate*/result.json', '**/shard.json', 'cache/*/set.json', 'store/lr/*.json'
    return {f: f.stat().st_mtime_ns for kind in kinds for f in folder.glob(kind)}


def leftovers(folder):
    "Files that are half-written, or were put out of the way"
    return [f for f in folder.rglob('*') if f.name.startswith('.unfinished') or '.corrupt' in f.name]


def stopped(work, folder, number, kill, seed=0, group=True):
    "Stop the work `number` times, each in a folder of its own; the numbers that were stopped, and what went wrong"
    begin = time.monotonic()
    want, r, bad, n = done(work, folder/'undisturbed'), random.Random(f'{work.__name__} {seed}'), [], 0
    usual = time.monotonic() - begin
    for i in range(number):
        mine = folder/f'{i}'
        pid = start(work, mine)
        time.sleep(r.uniform(0, usual))
        (os.killpg if group else os.kill)(pid, kill)
        _, status = os.waitpid(pid, 0)
        n += status != 0
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1:
            bad.append(f'{i}: an error instead of an end: {(mine/"error.txt").read_text()[-400:]}')
            (mine/'error.txt').unlink()
        if work is saved and (mine/'model').exists():
            load(mine/'model') # the former bundle or the new one, whole
        before = finished(mine)
        got = done(work, mine)
        after = finished(mine)
        if got != want:
            bad.append(f'{i}: another answer')
        if again := [str(f.relative_to(mine)) for f, t in before.items() if after.get(f) != t]:
            bad.append(f'{i}: done again: {again}')
        if left := leftovers(mine):
            bad.append(f'{i}: left over: {left}')
    print(f'\n{work.__name__}, {signal.Signals(kill).name}: {n} of {number} stopped before their end ({usual:.1f} s), '
          f'{number - len({b.split(":")[0] for b in bad})} held')
    return n, bad


# ---- promises -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('work', [scanned, resized, cached, compared, saved])
def test_a_killed_process_loses_nothing(tmp_path, work):
    _, bad = stopped(work, tmp_path, 1, signal.SIGKILL)
    assert not bad, bad


@pytest.mark.slow
@pytest.mark.parametrize('work', WORKS)
def test_thirty_kills_lose_nothing(tmp_path, work):
    n, bad = stopped(work, tmp_path, 30, signal.SIGKILL, seed=1)
    assert not bad, bad
    assert n >= 15


@pytest.mark.slow
@pytest.mark.parametrize('kill', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('work', WORKS)
def test_sigterm_and_ctrl_c_lose_nothing(tmp_path, work, kill):
    _, bad = stopped(work, tmp_path, 10, kill, seed=2)
    assert not bad, bad


@pytest.mark.slow
@pytest.mark.parametrize('group', [True, False], ids=['with_workers', 'main_alone'])
def test_kills_of_two_processes_lose_nothing(tmp_path, group):
    n, bad = stopped(compared_in_two, tmp_path, 15, signal.SIGKILL, seed=3, group=group)
    assert not bad, bad


def in_session(session):
    "Processes of a session that are there"
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != 'Z':
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='looks into /proc')
def test_workers_end_with_the_process_that_started_them(tmp_path):
    "joblib's own workers would wait for five minutes"
    pid = start(compared_in_two, tmp_path/'a')
    while not list((tmp_path/'a').glob('store/*/replicate*/result.json')):
        time.sleep(.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    since = time.monotonic()
    while in_session(pid) and time.monotonic() - since < 60:
        time.sleep(.5)
    assert not in_session(pid)
    print(f'\nthe workers ended {time.monotonic() - since:.0f} s after it')


@pytest.mark.slow
def test_ctrl_c_of_the_command_is_one_line_at_every_stage(tmp_path):
    "While it imports, reads, trains and shows: one line, status 130"
    (tmp_path/'base.yaml').write_text('source: digit_scenes\nn: 200\nsize: 32\nfolds: 2\nepochs: 3\nbs: 16\n'
                                      'arch: test_resnet\nlr: 1e-3\n')
    command = [Path(sys.executable).with_name('mlic'), 'compare', '--recipe', 'base.yaml', '--seed']
    env = {**os.environ, 'MLIC_QUIET': '1', 'MLIC_CACHE': str(tmp_path/'cache')}
    def run(i): return subprocess.Popen([*command, f'{i}'], cwd=tmp_path, env=env, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
    begin = time.monotonic()
    assert run(0).wait() == 0
    usual, r, bad = time.monotonic() - begin, random.Random(0), []
    for i in range(1, 21):
        process = run(i)
        time.sleep(.3 + r.uniform(0, usual)) # the interpreter itself takes that long to start
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:
            continue
        lines = [line for line in err.splitlines() if line.startswith('mlic: stopped')]
        if process.returncode != 130 or len(lines) != 1 or 'Traceback' in err:
            bad.append((i, process.returncode, err[-500:]))
    print(f'\nCtrl-C of the command: 20 tried, {20 - len(bad)} held')
    assert not bad, bad[0]


# ---- several at once ------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize('work', [scanned, resized, generated, cached, compared, pretrained])
def test_two_writers_give_the_answer_of_one(tmp_path, work):
    "Two processes on one folder, five times"
    want = done(work, tmp_path/'alone')
    for i in range(5):
        mine = tmp_path/f'{i}'
        photos(mine)
        pids = [start(work, mine) for _ in range(2)]
        assert [os.waitpid(p, 0)[1] for p in pids] == [0, 0], (mine/'error.txt').read_text()
        assert json.loads((mine/'answer.json').read_text()) == want
        assert not leftovers(mine)


@pytest.mark.slow
def test_a_reader_during_writes_sees_a_whole_bundle(tmp_path):
    def rewritten(folder):
        learn = learner(20)
        for _ in range(20):
            save(learn, folder/'model')
        return 0
    saved(tmp_path)
    pid, n = start(rewritten, tmp_path), 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        load(tmp_path/'model')
        n += 1
    print(f'\na reader during 20 writes: {n} bundles read, {n} whole')
    assert n > 20


@pytest.mark.slow
def test_a_clock_that_is_set_back_changes_nothing(tmp_path):
    "Files from the future, as after the clock was set back by a year: read, not made again, leftovers still removed"
    want = done(compared, tmp_path/'a')
    ahead = time.time() + 365*86400
    for f in (tmp_path/'a').rglob('*'):
        os.utime(f, (ahead, ahead))
    before = finished(tmp_path/'a')
    assert done(compared, tmp_path/'a') == want and finished(tmp_path/'a') == before
    pid = start(cached, tmp_path/'b')
    while not list((tmp_path/'b').rglob('.unfinished*')) and os.waitpid(pid, os.WNOHANG)[0] == 0:
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for f in (tmp_path/'b').rglob('*'):
        os.utime(f, (ahead, ahead))
    assert done(cached, tmp_path/'b') == done(cached, tmp_path/'c') and not leftovers(tmp_path/'b')


def test_stores_without_rights_are_read(tmp_path):
    "A shard or a result that another user has written for the group is read as it is"
    store = ActivationStore(tmp_path/'s', n=4, shard=2)
    for s in range(2):
        store.write(s, [np.ones((2, 3)), np.ones((2, 1))])
    for f in [*(tmp_path/'s').rglob('*')]:
        f.chmod(0o555 if f.is_dir() else 0o444)
    assert ActivationStore(tmp_path/'s').verify() == []
