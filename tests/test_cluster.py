"""More processes, more machines, more GPUs: the same numbers, and nothing lost when a worker is killed"""
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config

from mlic.compare import Recipe, compare
from mlic.core import MLICError
from mlic.data.loaders import dataloaders
from mlic.data.splits import random_split
from mlic.data.synth import digit_scenes
from mlic.training.activations import ActivationStore
from mlic.training.caching import cache_activations
from mlic.training.keys import activation_key, stored_items
from mlic.training.learner import mlic_learner
from mlic.training.policy import Policy, fit_policy

BASE = Recipe(source='digit_scenes', n=60, size=32, folds=2, epochs=1, bs=16, arch='test_resnet', lr=.001)
needs_dask = pytest.mark.skipif(not find_spec('distributed'), reason='dask and distributed are not installed')
needs_accelerate = pytest.mark.skipif(not find_spec('accelerate'), reason='accelerate is not installed')


def numbers(store, n_jobs=1, **kwargs):
    "All that does not measure time"
    d = compare(BASE, store, n_jobs, loss=['bce', 'lsep'], **kwargs).to_frame()
    return d[['variant', 'fold', 'epoch', 'train_loss', 'valid_loss', 'f1_macro', 'ap_macro', 'roc_auc_macro']]


def done(store): return len(list(store.glob('*/fold*/result.json')))


def kill_when(ready, pid):
    "Kill process `pid()` as soon as `ready()`"
    def wait():
        while not ready():
            time.sleep(.01)
        os.kill(pid(), signal.SIGKILL)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "The comparison in this process"
    torch.set_num_threads(1)
    return numbers(tmp_path_factory.mktemp('alone'))


# Processes on this machine

@pytest.mark.slow
def test_two_processes_give_the_same_digits(alone, tmp_path):
    pd.testing.assert_frame_equal(numbers(tmp_path, n_jobs=2), alone, check_exact=True)


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_and_loses_nothing(alone, tmp_path):
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    killer = kill_when(lambda: done(tmp_path) >= 1, lambda: next(iter(get_reusable_executor(reuse=True)._processes)))
    with pytest.raises(TerminatedWorkerError):
        numbers(tmp_path, n_jobs=2)
    killer.join(20)
    assert 1 <= done(tmp_path) < 4
    pd.testing.assert_frame_equal(numbers(tmp_path), alone, check_exact=True)
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@pytest.mark.slow
def test_workers_import_the_users_modules(alone, tmp_path, monkeypatch):
    "A data set that a module registers is known in every process"
    module = ("from mlic.compare import DATASETS", "from mlic.data.synth import digit_scenes",
              "DATASETS.setdefault('mine', lambda recipe: digit_scenes(recipe.n, recipe.size))")
    (tmp_path/'mydata.py').write_text('\n'.join(module))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    import mydata # noqa: F401
    recipe = Recipe(**{**vars(BASE), 'source': 'mine'})
    r = compare(recipe, tmp_path/'store', n_jobs=2, modules=['mydata'], loss=['bce', 'lsep'])
    np.testing.assert_array_equal(r.to_frame().ap_macro, alone.ap_macro)


# Threads of one process share random numbers

def test_threads_of_joblib_are_refused(tmp_path):
    with parallel_config('threading'), pytest.raises(MLICError, match='share random numbers'):
        numbers(tmp_path, n_jobs=2)
    assert done(tmp_path) == 0


@needs_dask
@pytest.mark.slow
def test_dask_workers_with_threads_are_refused(tmp_path):
    "As `dask worker` starts them by default: one process, all cores as threads"
    from dask.distributed import Client, LocalCluster
    with (LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
          Client(cluster), parallel_config('dask'), pytest.raises(MLICError, match='threads_per_worker=1')):
        numbers(tmp_path, n_jobs=2)
    assert done(tmp_path) == 0


# Dask

@needs_dask
@pytest.mark.slow
def test_dask_replaces_a_killed_worker(alone, tmp_path):
    from dask.distributed import Client, LocalCluster
    logging.getLogger('distributed').setLevel(logging.CRITICAL) # of the killed worker
    with (LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client,
          parallel_config('dask')):
        workers = list(client.run(os.getpid).values())
        assert len(set(workers)) == 2 and os.getpid() not in workers
        killer = kill_when(lambda: done(tmp_path) >= 1, lambda: workers[0])
        by_dask = numbers(tmp_path, n_jobs=2)
        killer.join(20)
    pd.testing.assert_frame_equal(by_dask, alone, check_exact=True)


# Activations of a frozen backbone: 12 shards of 8 images

def slow_pass(folder, seconds=.5, **kwargs):
    "Store activations in small shards; each batch takes some time and leaves a line in a file"
    src, log = digit_scenes(96, 32), str(folder/'batches.txt')
    torch.manual_seed(0)
    learn = mlic_learner(dataloaders(src, random_split(src, (.5,.5,0)), size=32, bs=8, tfms=None), 'test_resnet')
    def wait(*_):
        with open(log, 'a') as f:
            f.write('batch\n')
        time.sleep(seconds)
    learn.model.body.register_forward_hook(wait)
    ActivationStore(folder/activation_key(learn), len(stored_items(learn.dls)[0]), shard=8)
    cache_activations(learn, folder, **kwargs)


def shards(folder): return len(list(folder.glob('*/[0-9]*/shard.json')))


def batches(folder): return len((folder/'batches.txt').read_text().splitlines())


def stored_bytes(folder):
    "Every array of the store, by its path, which holds the key; what a killed process was writing is not part of it"
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.glob('*/[0-9]*/*.npy'))}


@pytest.fixture(scope='module')
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp('one')
    slow_pass(folder, seconds=0)
    assert shards(folder) == batches(folder) == 12
    return stored_bytes(folder)


@needs_dask
@pytest.mark.slow
def test_dask_stores_the_same_bytes_although_a_worker_is_killed(one_process, tmp_path):
    "Two workers, one killed with -9 at its second shard: the other computes what was lost, and nothing else again"
    from dask.distributed import Client, LocalCluster
    logging.getLogger('distributed').setLevel(logging.CRITICAL) # of the killed worker
    with (LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client,
          parallel_config('dask')):
        worker = next(iter(client.run(os.getpid).values()))
        killer = kill_when(lambda: shards(tmp_path) >= 3, lambda: worker)
        slow_pass(tmp_path, n_jobs=2)
        killer.join(20)
        assert not killer.is_alive()
    assert stored_bytes(tmp_path) == one_process
    assert batches(tmp_path) <= 12 + 1


@pytest.mark.slow
def test_a_killed_process_keeps_finished_shards_and_the_same_call_computes_the_rest(one_process, tmp_path):
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    killer = kill_when(lambda: shards(tmp_path) >= 3,
                       lambda: next(iter(get_reusable_executor(reuse=True)._processes)))
    with pytest.raises(TerminatedWorkerError):
        slow_pass(tmp_path, n_jobs=2)
    killer.join(20)
    kept, before = shards(tmp_path), batches(tmp_path)
    assert 3 <= kept < 12
    slow_pass(tmp_path, seconds=0)
    assert stored_bytes(tmp_path) == one_process
    assert batches(tmp_path) == before + 12 - kept
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def test_threads_may_not_share_the_pass(tmp_path):
    with parallel_config('threading'), pytest.raises(MLICError, match='share random numbers'):
        slow_pass(tmp_path, n_jobs=2)
    assert shards(tmp_path) == 0


# One network on several GPUs, here on two processes without a GPU

SCRIPT = """
import sys, torch
from fastai.distributed import DistributedDL, rank_distrib
from mlic.data.loaders import dataloaders
from mlic.data.splits import random_split
from mlic.data.synth import digit_scenes
from mlic.training.activations import ActivationStore
from mlic.training.caching import cache_activations
from mlic.training.keys import activation_key, stored_items
from mlic.training.learner import mlic_learner
from mlic.training.policy import Policy, fit_policy

def on_cpu(self, order, rank):
    order = torch.tensor(order)
    torch.distributed.broadcast(order, rank)
    return order.tolist()
cpu = not torch.cuda.is_available()
if cpu: DistributedDL._broadcast = on_cpu # fastai passes the order of images on by way of a GPU

src = digit_scenes(64, 32)
dls = dataloaders(src, random_split(src, (.5,.5,0)), size=32, bs=8, tfms=None)
torch.manual_seed(0)
learn = mlic_learner(dls, 'test_convnext', head='chaining')
with learn.no_bar(), learn.no_logging(), learn.distrib_ctx(sync_bn=not cpu, cpu=cpu):
    history = fit_policy(learn, 2, policy=Policy(lr=.003), seed=0)
if rank_distrib() == 0:
    history.df.to_csv(sys.argv[1] + '/history.csv')
    last = dict(weights=learn.model.state_dict(), probs=torch.tensor(history.last['probs']))
    torch.save(last, sys.argv[1] + '/last.pt')
"""


def in_two_processes(folder):
    "History, weights and validation scores that two processes leave"
    script = folder/'train.py'
    script.write_text(SCRIPT)
    launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    ended = subprocess.run([*launch, script, folder], capture_output=True, text=True, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    last = torch.load(folder/'last.pt', weights_only=True)
    return pd.read_csv(folder/'history.csv', index_col='epoch'), last['weights'], last['probs'].numpy()


def in_one_process(bs):
    "The same training in this process; `bs` 16: on the batches that two processes see together"
    src = digit_scenes(64, 32)
    dls = dataloaders(src, random_split(src, (.5,.5,0)), size=32, bs=bs, tfms=None)
    order = dls.train.get_idxs
    halves = lambda: np.array(order()).reshape(2, -1, 8).swapaxes(0, 1).ravel().tolist()
    if bs == 16:
        dls.train.get_idxs = halves
    torch.manual_seed(0)
    learn = mlic_learner(dls, 'test_convnext', head='chaining')
    with learn.no_bar(), learn.no_logging():
        history = fit_policy(learn, 2, policy=Policy(lr=.003), seed=0)
    return history.df, learn.model.state_dict(), history.last['probs']


@needs_accelerate
@pytest.mark.slow
def test_two_processes_train_one_network_as_one_does(tmp_path):
    "Batches of 8 in each of two processes are batches of 16 in one; batches of 8 in one process lead elsewhere"
    (two, w2, p2), (one, w1, p1), (_, w3, _) = in_two_processes(tmp_path), in_one_process(16), in_one_process(8)
    columns = ['valid_loss', 'f1_macro', 'f1_micro', 'f1_examples', 'ap_examples', 'ap_macro', 'roc_auc_macro']
    np.testing.assert_allclose(two[columns], one[columns], atol=1e-5)
    seen = np.arange(32).reshape(2, -1, 8).swapaxes(0, 1).ravel() # 8 images of either half after each other
    np.testing.assert_allclose(p2, p1[seen], atol=1e-5)
    gap = lambda a, b: max(float((a[k]-b[k]).abs().max()) for k in a)
    assert gap(w1, w2) < 1e-4 < gap(w1, w3)/10
