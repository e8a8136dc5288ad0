"""What `scan` and `resize_images` write: nothing lost by a kill, nothing damaged believed, no original ever replaced"""
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from mlic.core import MLICError
from mlic.data.audit import resize_images, scan
from mlic.data.images import open_image
from mlic.data.sources import make_source

pytestmark = pytest.mark.filterwarnings('ignore')


def photos(folder, n=30, size=(60, 50), seed=0):
    "A source of n random PNGs, in two subfolders"
    rng = np.random.default_rng(seed)
    names = [f'{"ab"[i % 2]}/{i:03}.png' for i in range(n)]
    for f in names:
        (folder/f).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder/f)
    labels = [['x'] if i % 3 else [] for i in range(n)]
    return make_source('photos', folder, pd.DataFrame(dict(fname=names, labels=labels)))


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob('*')) if f.is_file()}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('MLIC_CACHE', str(tmp_path/'cache'))
    return tmp_path/'cache'


# ---- killed ---------------------------------------------------------------------------------------------------
PROGRAM = '''
import sys, pandas as pd
from pathlib import Path
from mlic.data import audit
from mlic.data.sources import make_source
audit._PART = 5
root, small = Path(sys.argv[1]), Path(sys.argv[2])
names = sorted(str(f.relative_to(root)) for f in root.rglob('*.png'))
src = make_source('photos', root, pd.DataFrame(dict(fname=names, labels=[['x']]*len(names))))
print('ready', flush=True)
if sys.argv[3] == 'scan': audit.scan(src, n_jobs=1)
else: audit.resize_images(src, 20, small, n_jobs=1)
print('done', flush=True)
'''


def killed_and_resumed(tmp_path, what, kills, seed):
    "Kill the program at random moments until it ends by itself; the number of kills that it took"
    program, r, n = tmp_path/'program.py', random.Random(seed), 0
    program.write_text(PROGRAM)
    for _ in range(kills + 1):
        run = subprocess.Popen([sys.executable, '-W', 'ignore', program, tmp_path/'set', tmp_path/'small', what],
                               stdout=subprocess.PIPE, text=True)
        assert run.stdout.readline() == 'ready\n'
        if n < kills:
            time.sleep(r.uniform(0, .15))
            run.send_signal(signal.SIGKILL)
            n += 1
        last = run.stdout.read()
        run.wait()
    assert 'done' in last
    return n


@pytest.mark.slow
@pytest.mark.parametrize('what', ['scan', 'resize'])
def test_a_killed_run_continues_and_gives_the_same(tmp_path, cache, what):
    src = photos(tmp_path/'set', 60, (300, 200))
    before = contents(tmp_path/'set')
    assert killed_and_resumed(tmp_path, what, 10, 0) == 10
    assert contents(tmp_path/'set') == before
    assert not [f for f in tmp_path.rglob('.unfinished*') if 'locks' not in str(f)]
    if what == 'scan':
        assert not len(scan(src).problems)
    else:
        small = resize_images(src, 20, tmp_path/'small')
        again = resize_images(src, 20, tmp_path/'fresh')
        for i in range(len(src)):
            assert small.path(i).read_bytes() == again.path(i).read_bytes()


def test_an_interrupted_scan_keeps_what_it_has_seen(tmp_path, cache, monkeypatch):
    src = photos(tmp_path/'set', 30)
    real, seen = open_image, []

    def stops(path, *args):
        seen.append(path)
        if len(seen) == 20:
            raise KeyboardInterrupt
        return real(path, *args)
    monkeypatch.setattr('mlic.data.audit.open_image', stops)
    with pytest.raises(KeyboardInterrupt):
        scan(src, n_jobs=1)
    first = len(seen)
    assert scan(src, n_jobs=1).images.why.eq('').all()
    assert len(seen) - first <= 30 - 19 + 1


# ---- damaged --------------------------------------------------------------------------------------------------
def damaged(data, r):
    "One bit changed, or the end cut off"
    if r.random() < .3:
        return data[:r.randrange(len(data))]
    at = r.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << r.randrange(8)]) + data[at+1:]


@pytest.mark.parametrize('n', [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_damage_to_the_memory_of_scan_is_believed(tmp_path, cache, n):
    src, r = photos(tmp_path/'set', 12), random.Random(0)
    shutil.copy(src.path(0), src.path(1))
    (src.root/src.items.fname[2]).write_bytes(b'x')
    want, folder = scan(src).problems, next((cache/'scan').iterdir())
    for _ in range(n):
        f = next(folder.glob('*.json'))
        f.write_bytes(damaged(f.read_bytes(), r))
        pd.testing.assert_frame_equal(scan(src).problems, want)
        for old in folder.glob('*.corrupt*'):
            old.unlink()


@pytest.mark.parametrize('n', [20, pytest.param(500, marks=pytest.mark.slow)])
def test_no_damaged_copy_is_believed(tmp_path, cache, n):
    src, r = photos(tmp_path/'set', 6), random.Random(0)
    small = resize_images(src, 20, tmp_path/'small')
    want = [small.path(i).read_bytes() for i in range(6)]
    for k in range(n):
        f = small.path(k % 6)
        f.write_bytes(damaged(f.read_bytes(), r))
        again = resize_images(src, 20, tmp_path/'small', n_jobs=1)
        assert [again.path(i).read_bytes() for i in range(6)] == want
        for old in tmp_path.rglob('*.corrupt*'):
            old.unlink()


def test_a_damaged_record_of_copies_costs_no_file(tmp_path, cache):
    src = photos(tmp_path/'set', 6)
    resize_images(src, 20, tmp_path/'small')
    for f in (tmp_path/'small/.mlic_resized/files').glob('*.json'):
        f.write_bytes(f.read_bytes()[:-9])
    before = contents(tmp_path/'set')
    with pytest.raises(MLICError, match='is there, and resize_images did not write it'):
        resize_images(src, 20, tmp_path/'small')
    assert contents(tmp_path/'set') == before


# ---- originals ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('n', [15, pytest.param(200, marks=pytest.mark.slow)])
def test_no_file_is_replaced_that_was_there(tmp_path, cache, n):
    "Random trees of originals and other files, and any target folder: afterwards every file is as it was"
    r, made = random.Random(0), 0
    for k in range(n):
        work = tmp_path/f'{k}'
        for _ in range(r.randint(1, 4)):
            f = work/r.choice(['set', 'set/images', 'out', 'set/a', '.'])/r.choice(['a.png', 'b.png', 'notes.txt'])
            f.parent.mkdir(parents=True, exist_ok=True)
            f.write_bytes(b'precious')
        names = sorted({r.choice(['', 'images/', 'a/']) + r.choice(['a.png', 'b.png']) for _ in range(3)})
        for name in names:
            (work/'set'/name).parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (40, 30), (k % 256, 1, 2)).save(work/'set'/name)
        if r.random() < .3:
            (work/'link').symlink_to(r.choice(['set', 'out', 'set/images']))
        src = make_source('set', work/'set', pd.DataFrame(dict(fname=names, labels=[['x']]*len(names))))
        before = contents(work)
        targets = ['set', 'set/images', 'set/new', 'out', 'new', '.', 'link', 'link/new', 'new/../set']
        for target in r.sample(targets, 3):
            try:
                made += len(resize_images(src, r.choice([10, 20]), work/target, n_jobs=1))
            except MLICError:
                pass
        after = contents(work)
        assert {f: after.get(f) for f in before} == before, (k, names)
    assert made >= n/3 # not all were refused


def test_changed_originals_are_copied_again_whatever_their_time(tmp_path, cache):
    src = photos(tmp_path/'set', 4)
    small = resize_images(src, 20, tmp_path/'small')
    old = src.path(0).stat()
    shutil.copyfile(src.path(1), src.path(0))
    os.utime(src.path(0), ns=(old.st_atime_ns, old.st_mtime_ns))
    resize_images(src, 20, tmp_path/'small')
    assert small.path(0).read_bytes() == small.path(1).read_bytes()


# ---- hostile files ----------------------------------------------------------------------------------------------
def test_no_program_is_started_by_an_image(tmp_path, monkeypatch):
    "PIL hands PostScript to Ghostscript, whatever the file is called; here it is not an image"
    gs = tmp_path/'bin/gs'
    gs.parent.mkdir()
    gs.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n')
    gs.chmod(0o755)
    monkeypatch.setenv('PATH', f'{gs.parent}:{os.environ["PATH"]}')
    bad = tmp_path/'a.png'
    bad.write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n')
    with pytest.raises(MLICError, match='it is PostScript, not an image'):
        open_image(bad)
    with pytest.raises(MLICError, match='it is PostScript, not an image'):
        make_source('x', tmp_path, pd.DataFrame(dict(fname=['a.png'], labels=[['x']])))
    assert not (tmp_path/'started').exists()


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path/'a.png')
    start = time.monotonic()
    with pytest.raises(MLICError, match='not a regular file'):
        open_image(tmp_path/'a.png')
    with pytest.raises(MLICError, match='not a regular file'):
        make_source('x', tmp_path, pd.DataFrame(dict(fname=['a.png'], labels=[['x']])))
    assert time.monotonic() - start < 5


BOMB = '''
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3*2**30, 3*2**30))
import tifffile # imported before the memory is counted
from mlic.data.images import open_image
try: open_image(sys.argv[1], 'bands')
except Exception as e: print(type(e).__name__, e)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)
'''


def test_a_tiff_of_a_megabyte_does_not_take_gigabytes(tmp_path):
    "20,000 strips that all lie at the same megabyte"
    import struct
    n, data = 20_000, bytes(10**6)
    tags = [(256,'I',[500]), (257,'I',[n]), (258,'H',[16]*4), (259,'H',[1]), (262,'H',[1]), (273,'I',[8]*n),
            (277,'H',[4]), (278,'I',[1]), (279,'I',[10**6]*n)]
    at = 8 + len(data)
    table, more, free = struct.pack('<H', len(tags)), b'', at + 2 + 12*len(tags) + 4
    for t,kind,values in tags:
        v = struct.pack('<' + kind*len(values), *values)
        if len(v) > 4:
            v, more = struct.pack('<I', free + len(more)), more + v
        table += struct.pack('<HHI', t, {'H': 3, 'I': 4}[kind], len(values)) + v.ljust(4, b'\0')
    (tmp_path/'b.tif').write_bytes(b'II*\0' + struct.pack('<I', at) + data + table + b'\0'*4 + more)
    command = [sys.executable, '-W', 'ignore', '-c', BOMB, tmp_path/'b.tif']
    res = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 'its strips overlap' in res.stdout and int(res.stdout.split()[-1]) < 600, res


def test_a_full_disk_costs_the_memory_of_scan_not_the_scan(tmp_path, cache):
    src = photos(tmp_path/'set', 4)
    cache.write_bytes(b'') # a file where the folder should be: nothing can be written below it
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        assert len(scan(src).images) == 4
    assert any('cannot be remembered' in str(m.message) for m in w)
    with pytest.raises(MLICError):
        resize_images(src, 20)
    assert Path(cache).read_bytes() == b''
