"""The command line: answers of the commands, and what a wrong command line or a fault ends in: one line and a status"""
import contextlib, io, json, os, resource, subprocess, sys
from pathlib import Path
import pytest
from mlic.cli import main

QUICK = 'source: digit_scenes\nn: 60\nsize: 32\nfolds: 2\nepochs: 1\nbs: 16\narch: test_resnet\nlr: 1e-3\n'


def run(*words):
    "The command in this process: exit status, stdout, stderr"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(w) for w in words])
        except SystemExit as e:
            status = e.code # of argparse
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    "A folder with a generated set, a recipe, a table that cannot be read; the current one"
    folder = tmp_path_factory.mktemp('cli')
    with contextlib.chdir(folder):
        assert run('synth', 'planet', 'tiles', '--n', 60, '--size', 32)[0] == 0
        Path('base.yaml').write_text(QUICK)
        Path('latin.yaml').write_bytes('arch: r\xe9snet'.encode('latin-1'))
        Path('wrong.yaml').write_text('n: abc\n')
        Path('list.yaml').write_text('[' * 1000)
        yield folder


# ---- answers ------------------------------------------------------------------------------------------------
COMMANDS = 'check init train predict evaluate app serve export compare results report cache synth'.split()


def test_help_is_quick():
    "`mlic --help`, and the help of each command, imports nothing heavy"
    code = 'import sys; from mlic.cli import main\nfor words in sys.argv[1].split(","):\n'
    code += '  try: main([*words.split(), "--help"])\n  except SystemExit: pass\n'
    code += 'heavy = {"numpy", "pandas", "torch", "fastai", "yaml"} & set(sys.modules); assert not heavy, heavy'
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    res = subprocess.run([sys.executable, '-c', code, ','.join(['', *COMMANDS])], capture_output=True, text=True)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert res.returncode == 0 and 'compare' in res.stdout, res.stderr
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < 2 # all of them


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_help_with_an_example(command):
    status, out, _ = run(command, '--help')
    assert status == 0 and f'mlic {command}' in out.split('examples:')[1]


def test_check(work):
    status, out, err = run('check', 'tiles/train_v2.csv', '--root', 'tiles/train-jpg', '--labels-only', '--json')
    found = json.loads(out)
    assert status == 0 and found['images'] == 60, err
    assert sum(row['images'] for row in found['labels']) == round(found['stats']['LCard'] * 60)


def test_init_writes_a_file_that_the_other_commands_read(work):
    table = ['tiles/train_v2.csv', '--root', 'tiles/train-jpg']
    status, out, err = run('init', *table, '--out', 'described.yaml', '--json')
    assert status == 0 and json.loads(out)['images'] == 60, err
    checks = [run('check', *words, '--labels-only', '--json') for words in (table, ['described.yaml'])]
    assert json.loads(checks[0][1])['labels'] == json.loads(checks[1][1])['labels']
    status, _, err = run('init', *table, '--out', 'described.yaml')
    assert status == 1 and 'is there already' in err
    assert run('init', 'tiles', '--root', 'x')[0] == 1


def test_compare_gives_what_the_function_gives(work):
    from mlic.compare import Recipe, compare
    words = ['compare', '--recipe', 'base.yaml', '--vary', 'loss=bce,lsep', '--store', 'store']
    status, out, err = run(*words, '--json')
    assert status == 0, err
    res = compare(Recipe.from_yaml(QUICK), 'store', loss=['bce', 'lsep'])
    assert [r['ap_macro'] for r in json.loads(out)['results']] == res.to_frame().ap_macro.tolist()
    status, out, _ = run(*words)
    assert status == 0 and res.finding() in out
    status, out, _ = run('results', '--store', 'store', '--json')
    assert {r['loss'] for r in json.loads(out)} == {'bce', 'lsep'}


def test_compare_a_dataset_file_and_report(work):
    "From a table to a page: init, compare, report; the data count, not where their description lies"
    assert run('init', 'tiles/train_v2.csv', '--root', 'tiles/train-jpg', '--out', 'own.yaml')[0] == 0
    words = ['--vary', 'loss=bce,asl', '--recipe', 'own_base.yaml', '--store', 'own_store']
    Path('own_base.yaml').write_text(QUICK.replace('source: digit_scenes\nn: 60\n', ''))
    status, out, err = run('compare', 'own.yaml', *words, '--json')
    rows = json.loads(out)['results']
    assert status == 0 and len(rows) == 4 and rows[0]['n_train'] + rows[0]['n_valid'] + rows[0]['n_test'] == 60, err
    Path('elsewhere').mkdir()
    text = Path('own.yaml').read_text().replace('tiles/', '../tiles/')
    Path('elsewhere/same.yaml').write_text(text)
    folders = sorted(os.listdir('own_store'))
    assert run('compare', 'elsewhere/same.yaml', *words)[0] == 0
    assert sorted(os.listdir('own_store')) == folders # nothing was computed again
    status, out, err = run('report', 'own_store', '--out', 'report.html', '--pictures', 3, '--json')
    assert status == 0 and sorted(json.loads(out)['variants']) == ['asl', 'bce'], err
    page = Path('report.html').read_text(encoding='utf-8')
    assert page.count('<img ') == 2 + 3 and 'http' not in page.replace('http-equiv', '')
    status, out, err = run('report', 'own_store', '--out', 'one.html', '--keep', 'loss=asl')
    assert status == 0 and 'Verdicts' not in Path('one.html').read_text(encoding='utf-8'), err
    assert len(json.loads(run('compare', 'own.yaml', *words, '--n', 40, '--json')[1])['results']) == 4
    for more, named in ((['--n', 61], 'has 60 images'), (['--source', 'x'], 'give one of them')):
        status, _, err = run('compare', 'own.yaml', *words, *more)
        assert status == 1 and named in err


def test_train_predict_evaluate(work):
    data = ['tiles/train_v2.csv', '--root', 'tiles/train-jpg']
    small = ['--arch', 'test_resnet', '--weights', 'none', '--size', 32, '--epochs', 1, '--precision', 'bf16']
    status, out, err = run('train', *data, '--out', 'model', *small, '--json')
    assert status == 0, err
    assert set(json.loads(out)['images']) == {'train', 'valid', 'test'}
    status, out, err = run('predict', 'model', 'tiles/train-jpg', '--out', 'predictions.csv')
    assert status == 0 and len(Path('predictions.csv').read_text().splitlines()) == 61, err
    torn = Path('predictions.csv').read_bytes()
    Path('predictions.csv').write_bytes(torn[:-5])
    status, out, err = run('predict', 'model', 'tiles/train-jpg', '--out', 'predictions.csv', '--json')
    assert json.loads(out)['new'] == 1 and Path('predictions.csv').read_bytes() == torn
    status, out, err = run('predict', 'model', 'tiles/train-jpg/train_*1.jpg', '--json')
    assert status == 0 and len(json.loads(out)) == 6, err
    status, out, err = run('evaluate', 'model', *data, '--json')
    assert status == 0 and 0 <= json.loads(out)['scores']['ap_macro'] <= 1 and 'test images are taken' in err, err
    assert 'exists' in run('train', *data, '--out', 'model')[2]


def test_cache_and_synth(work):
    assert run('cache', 'ls', '--path', 'nothing')[:2] == (0, 'no stores\n')
    assert json.loads(run('cache', 'prune', '--path', 'nothing', '--keep', '1GB', '--json')[1]) == dict(removed=[])
    status, out, _ = run('synth', 'digits', 'digits', '--n', 12, '--size', 32, '--json')
    assert status == 0 and json.loads(out)['n'] == 12


def test_imports_a_module_of_the_user(work):
    Path('my_losses.py').write_text('from mlic.losses import LOSSES, BCELoss\nLOSSES["mine"] = BCELoss\n')
    words = ['compare', '--recipe', 'base.yaml', '--loss', 'mine', '--store', 'own', '--import', 'my_losses', '--json']
    status, out, err = run(*words)
    assert status == 0 and len(json.loads(out)['results']) == 2, err


# ---- mistakes: a line that says what to do ------------------------------------------------------------------
WRONG = [ # words of the command line, status, what stderr names
    (['nope'], 2, 'nope'), (['compare', '--nope', '1'], 2, '--nope'), (['compare', '--vary', 'loss'], 2, 'FIELD=A,B,C'),
    (['compare', '--vary', 'color=red'], 1, 'color'), (['compare', '--loss', 'bc'], 1, "'bc'"),
    (['compare', '--metric', 'nope'], 1, 'nope'), (['compare', '--store', ''], 2, 'path'),
    (['compare', '--store', 'x' * 300], 2, 'path'), (['compare', '--store', 'a\0b'], 2, 'path'),
    (['compare', '--jobs', '0'], 2, '0'), (['compare', '--seed', '-1'], 1, 'seed'),
    (['compare', '--seed', '1e20'], 1, 'seed'),
    (['compare', '--lr', 'x'], 1, 'lr'), (['compare', '--data_args', 'lift: .nan'], 1, 'lift'),
    (['compare', '--recipe', 'missing.yaml'], 1, 'missing.yaml'),
    (['compare', '--recipe', 'latin.yaml'], 1, 'latin.yaml'),
    (['compare', '--recipe', 'wrong.yaml'], 1, 'n is'), (['compare', '--recipe', 'list.yaml'], 1, 'YAML'),
    (['compare', '--head', 'chaining', '--head_args', 'steps: -1', '--n', '60'], 1, 'steps'),
    (['compare', '--loss', 'focal', '--loss_args', 'gama: 1'], 1, 'gama'),
    (['compare', '--loss', 'focal', '--loss_args', 'gamma: x'], 1, 'gamma'),
    (['compare', '--loss', 'focal', '--loss_args', 'alpha: x'], 1, 'alpha'),
    (['compare', '--head', 'csra', '--head_args', 'temperatures: x'], 1, 'temperatures'),
    (['compare', '--data_args', 'dependence: x'], 1, 'dependence'),
    (['synth', 'xray', 'tiles'], 1, 'exists'), (['synth', 'xray', 'new', '--size', '100000'], 1, '100000'),
    (['synth', 'xray', 'new', '--n', '0'], 2, '0'), (['synth', 'xray', 'new', '--seed', '-1'], 2, '-1'),
    (['check', 'missing.csv'], 1, 'missing.csv'), (['check', 'tiles/train_v2.csv', '--label-col', 'x'], 1, 'x'),
    (['check', 'tiles', '--sep', ','], 1, 'sep='), (['cache', 'prune'], 1, '--keep'),
    (['cache', 'prune', '--keep', 'x'], 2, 'x'),
    (['predict', 'missing', 'tiles'], 1, 'missing'), (['export', 'missing', 'a.onnx'], 1, 'missing'),
    (['results', '--import', 'no_such_module'], 1, 'no_such_module'),
    (['compare', 'tiles/train_v2.csv'], 1, 'mlic init'), (['compare', 'none.yaml'], 1, 'none.yaml'),
    (['report', 'nowhere'], 1, 'nowhere'), (['report', '--keep', 'color=red'], 1, 'color'),
    (['train', 'tiles/train_v2.csv', '--out', 'new', '--epochs', '0'], 1, '--epochs'),
]


@pytest.mark.parametrize('words, status, named', WRONG, ids=[' '.join(words)[:40] for words, _, _ in WRONG])
def test_a_mistake_is_one_line(work, words, status, named):
    got, out, err = run(*words)
    last = [line for line in err.splitlines() if not line.startswith(('usage:', ' '))]
    assert (got, out) == (status, '') and named in err and 'Traceback' not in err, (got, err)
    assert len(last) == 1, err


def test_a_fault_of_mlic_is_one_line_and_debug_shows_where(work, monkeypatch):
    import mlic.compare
    def broken(store): raise TypeError('a bug')
    monkeypatch.setattr(mlic.compare, 'stored', broken)
    status, out, err = run('results')
    assert (status, out) == (70, '') and 'a bug' in err and '--debug' in err and len(err.splitlines()) == 1
    with pytest.raises(TypeError):
        main(['results', '--debug'])


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_cannot_be_written_is_named(work):
    Path('locked').mkdir(mode=0o500)
    status, _, err = run('compare', '--recipe', 'base.yaml', '--store', 'locked/store')
    assert status == 1 and 'locked' in err


def test_ctrl_c_ends_with_one_line(work, monkeypatch):
    import mlic.compare
    def stopped(store): raise KeyboardInterrupt
    monkeypatch.setattr(mlic.compare, 'stored', stopped)
    status, out, err = run('results')
    assert (status, out) == (130, '') and len(err.splitlines()) == 1


def test_nothing_of_other_packages_on_stderr(work):
    "The installed command: the answer on stdout; with MLIC_QUIET nothing but mlic's own warnings on stderr"
    command = [Path(sys.executable).with_name('mlic'), 'compare', '--recipe', 'base.yaml', '--store', 'fresh', '--json']
    res = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'MLIC_QUIET': '1'})
    assert res.returncode == 0 and json.loads(res.stdout)['results'], res.stderr
    assert all(line.startswith('mlic: ') for line in res.stderr.splitlines()), res.stderr
