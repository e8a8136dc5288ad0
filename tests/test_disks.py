"""Disks that are full, out of inodes, or read-only: an `MLICError` that says so, nothing half-written, and it resumes

Each work of `test_kill.py` writes on a small disk of its own (a tmpfs, which only root may mount). Where it does not
fit, the error names the folder; when the disk has been made larger, the same work gives the usual answer.
"""
import os
import random
import subprocess
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mlic.compare import compare
from mlic.core import MLICError
from test_kill import HEAD, WORKS, compared, leftovers, photos, saved, scanned, trained

pytestmark = [pytest.mark.filterwarnings('ignore'),
              pytest.mark.skipif(sys.platform != 'linux' or os.geteuid() != 0, reason='mounts a small disk')]


@contextmanager
def disk(folder, options):
    folder.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder], capture_output=True).returncode:
        pytest.skip('no right to mount')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', folder], check=True)


def enlarged(folder): subprocess.run(['mount', '-o', 'remount,rw,size=256m,nr_inodes=100000', folder], check=True)


def fits(work, folder, monkeypatch):
    "Did the work end, or say that the disk is full? Anything else fails"
    monkeypatch.setenv('MLIC_CACHE', str(folder/'cache'))
    try:
        work(folder)
        return True
    except MLICError as e:
        assert 'disk is full' in str(e) or 'No space left' in str(e), e
        assert str(folder) in str(e), e
        return False


def tried(work, tmp_path, monkeypatch, sizes):
    "How many of the disks were too small; on each the work is done again after there is room"
    (tmp_path/'usual').mkdir()
    photos(tmp_path/'usual')
    monkeypatch.setenv('MLIC_CACHE', str(tmp_path/'usual'/'cache'))
    want, full = work(tmp_path/'usual'), 0
    for i, options in enumerate(sizes):
        with disk(tmp_path/f'{i}', options) as folder:
            (folder/'photos').symlink_to(tmp_path/'usual'/'photos') # what was there before
            full += not fits(work, folder, monkeypatch)
            assert not leftovers(folder), options
            enlarged(folder)
            if work is not saved or not (folder/'model').exists():
                assert work(folder) == want or work is scanned, options
    print(f'\n{work.__name__}: {len(sizes)} disks, {full} too small, {len(sizes)} held')
    return full


@pytest.mark.parametrize('work', [compared, saved])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, monkeypatch, work):
    tried(work, tmp_path, monkeypatch, ['size=64k', 'size=4m,nr_inodes=9'])


@pytest.mark.slow
@pytest.mark.parametrize('work', WORKS)
def test_disks_of_any_size(tmp_path, monkeypatch, work):
    "From nothing to what is needed; then enough room, and too few inodes"
    r = random.Random(0)
    sizes = [f'size={round(2**r.uniform(2, 11))}k' for _ in range(12)]
    inodes = [f'size=64m,nr_inodes={r.randint(2, 60)}' for _ in range(6)]
    assert tried(work, tmp_path, monkeypatch, sizes + inodes) or work in (scanned, trained)


def test_a_store_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    "Finished results, found again on a disk that is read-only; what is new is refused by name, a scan goes on"
    with disk(tmp_path/'d', 'size=256m') as folder:
        monkeypatch.setenv('MLIC_CACHE', str(folder/'cache'))
        want, src = compared(folder), photos(folder)
        subprocess.run(['mount', '-o', 'remount,ro', folder], check=True)
        assert compared(folder) == want
        with pytest.raises(MLICError, match='cannot be written'):
            compare(replace(HEAD, seed=1), folder/'store')
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            scanned(folder)
        assert any('cannot be remembered' in str(w.message) for w in said) and len(src) == 40
        with pytest.raises(MLICError, match='cannot be written'):
            saved(folder)


@pytest.mark.slow
def test_the_command_says_it_in_one_line(tmp_path):
    "`mlic compare`, `synth`, `train` on full disks: one line, status 1"
    mlic, bad, n = Path(sys.executable).with_name('mlic'), [], 0
    quick = '--n 60 --size 32 --folds 2 --epochs 1 --bs 16 --arch test_resnet --lr .001'
    commands = [f'compare --source digit_scenes {quick} --store store', 'synth xray set --n 200 --size 64']
    for words in commands:
        for size in ('4k', '40k', '400k'):
            n += 1
            with disk(tmp_path/f'{n}', f'size={size}') as folder:
                env = {**os.environ, 'MLIC_QUIET': '1', 'MLIC_CACHE': str(folder/'cache')}
                res = subprocess.run([mlic, *words.split()], cwd=folder, env=env, capture_output=True, text=True)
                lines = res.stderr.strip().splitlines()
                if res.returncode != 1 or len(lines) != 1 or 'Traceback' in res.stderr:
                    bad.append((words, size, res.returncode, res.stderr[-400:]))
    print(f'\ncommands on full disks: {n} tried, {n - len(bad)} held')
    assert not bad, bad[0]
