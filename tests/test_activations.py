"""Promises of stored activations when processes die, disks fill and bytes rot.  `pytest tests/test_activations.py`"""
import os, shutil, signal, subprocess, sys, time
import numpy as np
import pytest
from mlic.core import MLICError
from mlic.training.activations import ActivationStore

X = np.arange(6, dtype=np.float32)[:,None]*np.ones(3, np.float32)


def filled(folder, n=6, shard=2):
    "A store whose row i holds the number i"
    shutil.rmtree(folder, ignore_errors=True)
    store = ActivationStore(folder, n=n, shard=shard)
    for s in range(store.shards):
        store.write(s, [X[store.items(s)], X[store.items(s), :1]])
    assert store.verify() == []
    return store


# ---- damage -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', ['0.npy', '1.npy', 'shard.json'])
def test_any_flipped_byte_of_a_shard_is_found(tmp_path, name):
    store = filled(tmp_path/'s')
    file = store.folder/'00000'/name
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at+1:])
        assert store.verify() == [0], at


def test_no_flipped_bit_of_the_description_is_believed(tmp_path):
    "A damaged meta.json either starts the store anew, or (white space) means what it meant; no row is ever another's"
    whole = (filled(tmp_path/'s').folder/'meta.json').read_bytes()
    for at in range(len(whole)):
        for bit in (1, 2, 16):
            file = tmp_path/'s'/'meta.json'
            file.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at+1:])
            try:
                opened = ActivationStore(tmp_path/'s')
            except MLICError:
                continue
            assert opened.meta == dict(n=6, views=1, dtype='float32', shard=2)


def test_a_store_with_a_damaged_description_starts_anew(tmp_path):
    wrong = '{"sha256": "0", "content": {"n": 6, "views": 1, "dtype": "float32", "shard": 3}}'
    for text in ('', '{}', '[]', 'null', wrong):
        store = filled(tmp_path/'s')
        (store.folder/'meta.json').write_text(text)
        with pytest.warns(UserWarning, match='cannot be used'):
            again = ActivationStore(tmp_path/'s', n=6, shard=2)
        assert again.missing() == [0, 1, 2]


def test_a_record_of_other_rows_counts_as_absent(tmp_path):
    "A shard that was written for another shard size is not read, whoever has put it there"
    filled(tmp_path/'a', shard=3)
    store = filled(tmp_path/'b', shard=2)
    shutil.rmtree(store.folder/'00001')
    shutil.copytree(tmp_path/'a'/'00001', store.folder/'00001')
    assert store.missing() == [1]


def test_records_that_are_not_records_count_as_absent(tmp_path):
    for text in ('', '[]', '{}', 'null', '3', '[["0.npy"]]'):
        store = filled(tmp_path/'s')
        (store.folder/'00001'/'shard.json').write_text(text)
        assert store.missing() == store.verify() == [1]


def test_a_cut_file_is_found(tmp_path):
    store = filled(tmp_path/'s')
    file = store.folder/'00002'/'0.npy'
    for n in (0, 10, 130):
        file.write_bytes(file.read_bytes()[:n])
        assert store.verify() == [2]


# ---- disks and rights ---------------------------------------------------------------------------------------
@pytest.mark.skipif(sys.platform != 'linux' or os.geteuid() != 0, reason='mounts a small disk')
def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(tmp_path):
    disk = tmp_path/'disk'
    disk.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk]).returncode == 0
    if not mounted:
        pytest.skip('no right to mount')
    try:
        store = ActivationStore(disk/'s', n=40, shard=10)
        def write(s): store.write(s, [np.zeros((10, 2000)), np.zeros((10, 3))]) # 80 kB
        with pytest.raises(MLICError, match='the disk is full; make room'):
            for s in range(4):
                write(s)
        done = [s for s in range(4) if s not in store.missing()]
        assert done and store.verify() == store.missing()
        assert not list((disk/'s').glob('.unfinished*'))
        shutil.rmtree(store.folder/f'{done[0]:05}') # room is made
        write(store.missing()[-1])
    finally:
        subprocess.run(['umount', disk])


def test_files_follow_the_umask(tmp_path):
    was = os.umask(0o027) # a group shares them
    try:
        store = filled(tmp_path/'s')
    finally:
        os.umask(was)
    files = [p for p in store.folder.rglob('*') if p.is_file() and p.name != '.lock']
    assert {oct(p.stat().st_mode & 0o777) for p in files} == {'0o640'}


def test_more_shards_than_a_process_may_open_files(tmp_path):
    store = ActivationStore(tmp_path/'s', n=300, shard=1)
    for s in range(300):
        store.write(s, [np.full((1,2), s), np.full((1,3), -s)])
    opened = len(os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd') else 0
    x, y = store.read(np.arange(299, -1, -1))
    assert (x[:,0].numpy() == np.arange(299, -1, -1)).all() and (y[:,2] == -x[:,0]).all()
    if opened:
        assert len(os.listdir('/proc/self/fd')) < opened + 5


# ---- processes ----------------------------------------------------------------------------------------------
SCRIPT = '''
import os, sys, warnings
warnings.simplefilter('ignore')
import torch.distributed as dist
from pathlib import Path
from fastai.torch_core import set_seed
from mlic.data.loaders import dataloaders
from mlic.data.splits import group_split
from mlic.data.synth import synth_xray
from mlic.training.activations import ActivationStore
from mlic.training.caching import cache_activations
from mlic.training.learner import mlic_learner
folder, name, what, bs = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
write = ActivationStore.write
def watched(self, s, arrays):
    write(self, s, arrays)
    with open(folder/f'{name}.{what}.log', 'a') as f: f.write(f'{s} ')
    if what == 'slow': (folder/'first').touch(); import time; time.sleep(60)
ActivationStore.write = watched
if what.startswith('rank'):
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=int(what[4:]), world_size=2)
set_seed(3)
src = synth_xray(1100, size=16, seed=1, lift=4) # three shards
learn = mlic_learner(dataloaders(src, group_split(src, (.6,.4,0)), size=16, bs=bs, tfms=None))
cached = cache_activations(learn, folder/name)
'''


def start(folder, name, what='plain', bs=64):
    env = {**os.environ, 'MLIC_QUIET': '1', 'MLIC_CACHE': str(folder/'data'), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, '-c', SCRIPT, str(folder), name, what, str(bs)], env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*processes):
    for p in processes:
        out, err = p.communicate(timeout=500)
        assert p.returncode == 0, out + err[-2000:]


def written(folder, name, what='plain'): return (folder/f'{name}.{what}.log').read_text().split()


def rows(folder, name):
    store, = (ActivationStore(p) for p in (folder/name).iterdir())
    assert store.verify() == [] and not list(store.folder.glob('.unfinished*'))
    return store.read(np.arange(store.n))[0].numpy()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "The rows of a pass that nothing disturbed, and where they are"
    folder = tmp_path_factory.mktemp('whole')
    finish(start(folder, 'whole'))
    return folder, rows(folder, 'whole')


@pytest.mark.slow
def test_a_killed_pass_keeps_what_it_finished_and_goes_on(tmp_path, whole):
    killed = start(tmp_path, 'killed', 'slow')
    while not (tmp_path/'first').exists() and killed.poll() is None:
        time.sleep(.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    store, = (ActivationStore(p) for p in (tmp_path/'killed').iterdir())
    assert store.missing() == [1, 2]
    finish(start(tmp_path, 'killed'))
    assert written(tmp_path, 'killed') == ['1', '2']
    np.testing.assert_allclose(rows(tmp_path, 'killed'), whole[1], atol=1e-5)


@pytest.mark.slow
def test_two_processes_with_different_batch_sizes_make_one_right_store(tmp_path, whole):
    finish(start(tmp_path, 'two', 'a', bs=16), start(tmp_path, 'two', 'b', bs=48))
    np.testing.assert_allclose(rows(tmp_path, 'two'), whole[1], atol=1e-5)


@pytest.mark.slow
def test_the_ranks_of_one_job_divide_the_shards(tmp_path, whole):
    finish(start(tmp_path, 'ranks', 'rank0'), start(tmp_path, 'ranks', 'rank1'))
    assert (written(tmp_path, 'ranks', 'rank0'), written(tmp_path, 'ranks', 'rank1')) == (['0', '2'], ['1'])
    np.testing.assert_allclose(rows(tmp_path, 'ranks'), whole[1], atol=1e-5)


@pytest.mark.slow
def test_only_a_damaged_shard_is_computed_again(whole):
    folder, before = whole
    store, = (folder/'whole').iterdir()
    with open(store/'00001'/'0.npy', 'r+b') as f:
        f.seek(500)
        f.write(b'rot')
    (folder/'whole.plain.log').unlink()
    finish(start(folder, 'whole'))
    assert written(folder, 'whole') == ['1']
    np.testing.assert_array_equal(rows(folder, 'whole'), before)
