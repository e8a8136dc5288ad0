"Generated sets on disk: complete or absent, whatever happens while they are made"
import os, signal, subprocess, sys, time
from pathlib import Path
import pytest
from mlic.core import MLICError
from mlic.data.synth import synth_xray

SCRIPT = """
import sys
from mlic.data.synth import synth_xray
src = synth_xray(int(sys.argv[1]), 32)
print(len(src), src.Y.sum())
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('MLIC_CACHE', str(tmp_path/'cache'))
    monkeypatch.setenv('MLIC_QUIET', '1')
    return tmp_path/'cache'


def start(n):
    "A process that makes a set of n images"
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', SCRIPT, str(n)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_that_want_the_same_set_get_the_same(cache):
    runs = [start(200) for _ in range(3)]
    answers = {run.communicate()[0] for run in runs}
    assert len(answers) == 1 and answers.pop().startswith('200 ')
    assert len(list(cache.glob('synth_xray_*'))) == 1


@pytest.mark.slow
def test_a_killed_process_leaves_no_set_and_nothing_that_stays(cache):
    run = start(20_000)
    for _ in range(600):
        if list(cache.glob('.unfinished_*')):
            break
        time.sleep(.05)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert list(cache.glob('.unfinished_*')) and not list(cache.glob('synth_xray_*'))
    assert len(synth_xray(30, 32)) == 30
    assert not list(cache.glob('.unfinished_*')) # the next set that is made removes what the killed process left


def test_a_finished_set_is_read_where_nothing_can_be_written(cache, monkeypatch):
    made = synth_xray(30, 32)
    monkeypatch.setattr('mlic.store.FileLock', None) # whoever took the lock would fail
    assert (synth_xray(30, 32).Y == made.Y).all()


def test_a_cache_that_is_a_file_is_named(tmp_path, monkeypatch):
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('MLIC_CACHE', str(tmp_path/'file'))
    with pytest.raises(MLICError, match='file.*cannot be written'):
        synth_xray(30, 32)
    with pytest.raises(MLICError, match='file.*cannot be written'):
        synth_xray(30, 32, root=tmp_path/'file'/'set')


@pytest.mark.skipif(os.geteuid() != 0, reason='mounting a small disk needs root')
def test_a_full_disk_is_named_and_nothing_is_left(tmp_path):
    small = tmp_path/'small'
    small.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=200k', 'tmpfs', small], capture_output=True).returncode:
        pytest.skip('mount is not permitted')
    try:
        with pytest.raises(MLICError, match='disk is full'):
            synth_xray(300, 64, root=small/'set')
        assert list(Path(small).iterdir()) == []
    finally:
        subprocess.run(['umount', small])
