"""Bundles: what opening one must not do, and what writing one must not lose.  `pytest tests/test_bundle.py`"""
import errno
import json
import os
import pickle
import random
import shutil
import signal
import struct
import time
import zipfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlic.core import MLICError
from mlic.data.loaders import dataloaders
from mlic.data.splits import random_split
from mlic.data.synth import synth_planet
from mlic.deploy.bundle import FILES, load, save
from mlic.deploy.signature import sign
from mlic.store import seal
from mlic.training.learner import mlic_learner


@pytest.fixture(scope='module')
def learn():
    src = synth_planet(30, 32, 0)
    torch.manual_seed(0)
    return mlic_learner(dataloaders(src, random_split(src, (.6, .4, 0)), 32, 8), 'test_resnet')


@pytest.fixture(scope='module')
def bundle(learn, tmp_path_factory): return save(learn, tmp_path_factory.mktemp('bundles')/'good')


@pytest.fixture
def copy(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path/'b')
    return tmp_path/'b'


def described(folder, **entries):
    "Change entries of a bundle's description, as an attacker who writes fitting checksums"
    info = json.loads((folder/'bundle.json').read_text())
    (folder/'bundle.json').write_text(json.dumps(info | entries))
    seal(folder)
    return folder


class Planted:
    "A pickle that makes a folder where it is opened"
    def __init__(self, trace): self.trace = trace
    def __reduce__(self): return os.mkdir, (str(self.trace),)


# ---- loading executes nothing and reads nothing else ----------------------------------------------------------
def test_a_pickle_is_not_opened_under_any_name(copy, bundle, tmp_path):
    trace = tmp_path/'i_was_run'
    code = pickle.dumps(Planted(trace))
    torch.save({'model': Planted(trace)}, tmp_path/'x.pth')
    for name, data in (('model.safetensors', code), ('model.safetensors', (tmp_path/'x.pth').read_bytes()),
                       ('bundle.json', code)):
        (copy/name).write_bytes(data)
        seal(copy)
        with pytest.raises(MLICError):
            load(copy)
        shutil.copy(bundle/name, copy/name)
    for name in ('model.pkl', 'export.pkl', '__init__.py', 'pytorch_model.bin'):
        (copy/name).write_bytes(code)
    shutil.copy(bundle/'sha256sums.txt', copy)
    load(copy) # what lies beside is not looked at
    assert not trace.exists()
    pickle.loads(code)
    assert trace.exists() # the plant works where a pickle is trusted


def test_an_archive_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path/'b.zip', 'w') as z:
        z.writestr('../i_was_unpacked', 'out')
        z.writestr('bundle.json', '{}')
    with pytest.raises(MLICError, match='not an archive'):
        load(tmp_path/'b.zip')
    assert not list(tmp_path.parent.rglob('i_was_unpacked'))


@pytest.mark.parametrize('name', ['../../x', '/etc/passwd', 'hf-hub:someone/resnet18', 'hf_hub:a/b', 'local-dir:/tmp',
                                  'https://example.org/resnet18', '__import__', 'os.system', 'resnet18.tv_in1k/../x'])
def test_a_name_reaches_no_file_and_no_network(copy, name):
    with pytest.raises(MLICError):
        load(described(copy, backbone=dict(name=name, pool=None, size=None)))
    with pytest.raises(MLICError):
        load(described(copy, head=dict(name=name, args={})))


@pytest.mark.parametrize('name', ['bundle.json', 'model.safetensors', 'sha256sums.txt'])
def test_links_pipes_and_devices_are_refused(copy, bundle, name):
    for make in (lambda f: f.symlink_to(bundle/name), lambda f: f.symlink_to('/dev/zero'), os.mkfifo, Path.mkdir):
        (copy/name).unlink()
        make(copy/name)
        with pytest.raises(MLICError):
            load(copy)
        if (copy/name).is_dir() and not (copy/name).is_symlink():
            (copy/name).rmdir()
        else:
            (copy/name).unlink()
        shutil.copy(bundle/name, copy/name)
    load(copy)


def test_giant_files_take_no_memory(copy):
    with open(copy/'bundle.json', 'r+b') as f:
        f.truncate(2**33)
    with pytest.raises(MLICError, match='more than'):
        load(copy)
    (copy/'bundle.json').write_text('['*10_000_000)
    seal(copy)
    with pytest.raises(MLICError, match='cannot be read'):
        load(copy)
    with open(copy/'sha256sums.txt', 'r+b') as f:
        f.truncate(2**33)
    with pytest.raises(MLICError, match='more than'):
        load(copy)


def test_a_giant_header_of_weights_is_refused(copy):
    head = json.dumps({'w': dict(dtype='F32', shape=[10**6, 10**6], data_offsets=[0, 4*10**12])}).encode()
    for data in (struct.pack('<Q', 2**60), struct.pack('<Q', len(head)) + head, struct.pack('<Q', 8) + b'[[[[[[[['):
        (copy/'model.safetensors').write_bytes(data)
        seal(copy)
        with pytest.raises(MLICError):
            load(copy)


def test_a_signature_is_asked_for_and_checked(copy, tmp_path):
    minisign = pytest.importorskip('minisign')
    pair = minisign.KeyPair.generate()
    (tmp_path/'me.key').write_bytes(bytes(pair.secret_key))
    public = pair.public_key.to_base64().decode()
    with pytest.raises(MLICError, match='is not signed'):
        load(copy, signed_by=public)
    sign(copy, tmp_path/'me.key')
    load(copy, signed_by=public)
    sums = (copy/'sha256sums.txt').read_bytes()
    for name in FILES[:3]: # the model card counts too
        whole = (copy/name).read_bytes()
        (copy/name).write_bytes(whole + b' ')
        with pytest.raises(MLICError):
            load(copy, signed_by=public)
        seal(copy)
        with pytest.raises(MLICError, match='not by this key'):
            load(copy, signed_by=public)
        (copy/name).write_bytes(whole)
        (copy/'sha256sums.txt').write_bytes(sums)
    load(copy, signed_by=public)
    (copy/'README.md').rename(tmp_path/'card')
    for make in (os.mkfifo, lambda f: f.symlink_to('/dev/zero'), lambda f: f.symlink_to(tmp_path/'card')):
        make(copy/'README.md')
        with pytest.raises(MLICError):
            load(copy, signed_by=public)
        (copy/'README.md').unlink()
    (tmp_path/'card').rename(copy/'README.md')
    (copy/'sha256sums.txt.minisig').rename(tmp_path/'outside')
    (copy/'sha256sums.txt.minisig').symlink_to(tmp_path/'outside')
    with pytest.raises(MLICError, match='is not signed'):
        load(copy, signed_by=public)


# ---- mutations: a message, or a bundle that works ---------------------------------------------------------------
ODD = [None, True, 0, -1, 1.5, 10**12, 1e300, '', 'x', '../x', [], {}, [[]], {'a': {}}, ['a']*3, 'inf', '\x00', [None]]


def places(d, at=()):
    "Paths of all values within a description"
    for k, v in d.items() if isinstance(d, dict) else enumerate(d[:3]):
        yield (*at, k)
        if isinstance(v, (dict, list)):
            yield from places(v, (*at, k))


def tried(folder):
    "None where the bundle is refused in words, else what it predicts"
    try:
        return load(folder).predict(np.zeros((8, 8, 3), np.uint8)).probs
    except MLICError:
        return None


@pytest.mark.slow
def test_a_mutated_description_is_refused_or_harmless(copy):
    info = json.loads((copy/'bundle.json').read_text())
    spots, loaded, tries = list(places(info)), 0, 0
    for spot in spots:
        for value in ODD:
            d = json.loads(json.dumps(info))
            at = d
            for k in spot[:-1]:
                at = at[k]
            at[spot[-1]] = value
            (copy/'bundle.json').write_text(json.dumps(d))
            seal(copy)
            probs = tried(copy)
            tries, loaded = tries + 1, loaded + (probs is not None)
            assert probs is None or np.isfinite(probs).all(), (spot, value)
    print(f'{tries} descriptions, {loaded} harmless')
    assert tries > 500


def test_a_flipped_bit_or_a_cut_in_the_weights_is_refused_or_finite(copy, bundle):
    whole, rng = (copy/'model.safetensors').read_bytes(), random.Random(0)
    n = 8 + struct.unpack('<Q', whole[:8])[0]
    refused = 0
    for i in range(120):
        data = bytearray(whole)
        at = rng.randrange(n) if i % 3 else rng.randrange(len(whole))
        if i % 10:
            data[at] ^= 1 << rng.randrange(8)
        else:
            del data[at:]
        (copy/'model.safetensors').write_bytes(data)
        assert tried(copy) is None, i # its checksum differs
        seal(copy) # an attacker's differs not
        probs = tried(copy)
        refused += probs is None
        shutil.copy(bundle/'sha256sums.txt', copy)
        assert probs is None or np.isfinite(probs).all(), i
    print(f'120 weight files, {refused} refused')
    assert refused > 80


# ---- writing loses nothing ---------------------------------------------------------------------------------------
def test_a_full_disk_is_said_and_leaves_the_former_bundle(learn, copy, monkeypatch):
    def full(*args, **kwargs): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    before = {f.name: f.read_bytes() for f in copy.iterdir()}
    for method in ('write_bytes', 'write_text'):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, full)
            with pytest.raises(MLICError, match='disk is full'):
                save(learn, copy)
    assert {f.name: f.read_bytes() for f in copy.iterdir()} == before
    assert [f.name for f in copy.parent.iterdir()] == ['b']


@pytest.mark.parametrize('umask,mode', [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_are_readable_by_whom_the_umask_allows(learn, tmp_path, umask, mode):
    was = os.umask(umask)
    try:
        path = save(learn, tmp_path/'b')
    finally:
        os.umask(was)
    assert {f.stat().st_mode & 0o777 for f in path.iterdir()} == {mode}


@pytest.mark.slow
def test_a_killed_save_leaves_a_whole_bundle(learn, copy):
    "kill -9 at random moments: the former bundle or the new one, and the next save removes what lies around"
    rng, context = random.Random(0), get_context('fork')
    torch.set_num_threads(1)
    for _ in range(12):
        p = context.Process(target=save, args=(learn, copy))
        p.start()
        time.sleep(rng.uniform(.01, 1.))
        os.kill(p.pid, signal.SIGKILL)
        p.join()
        assert load(copy).predict(Image.new('RGB', (8, 8))).probs.shape == (17,)
    p = context.Process(target=save, args=(learn, copy)) # another process, which sweeps
    p.start()
    p.join()
    assert p.exitcode == 0
    assert [f.name for f in copy.parent.iterdir()] == ['b']
