"""Typed input: every field of a recipe with every odd value, and every option of every command with odd words

A recipe is accepted, and then means the same when it is written and read again, or refused by an `MLICError`; a command
line ends with status 0 or, after one line on stderr, with 1 or 2. Nothing is computed here.
"""
import contextlib
import dataclasses
import io
import itertools
import random
import signal
from pathlib import Path

import pytest

from mlic.cli import main
from mlic.compare import Recipe
from mlic.compare.recipe import typed
from mlic.core import MLICError

FIELDS = [f.name for f in dataclasses.fields(Recipe)]
VALUES = ['', '~', 'null', 'true', 'yes', '0', '-1', '1.5', '1e3', '1e-3', '1e99', '-1e99', '.nan', '.inf', '-.inf',
          '0x10', '0b1', '010', '1_000', '1:30', '2024-01-01', 'abc', '"64"', "'1e-3'", '[1, 2]', '[a]', '[[1]]',
          '[]', '{}', '{a: 1}', '{a: {b: 1}}', '"a: 1"', '"a: [1, 2]"', '"a: b: c"', '"{"', '"\\0"',
          '"../../etc/passwd"', '/etc/passwd', '"x: !!python/object:os.system"', '!!python/object:os.system x',
          '!!binary aGk=', '!!set {a}', '!!float 1', '&a 1', '*a', '|\n  text', '>\n  text', '"\\u2028"', 'é',
          '9' * 400, 'x' * 5000, '1e400', '- 1', '? a', '@', '`', '%']


@contextlib.contextmanager
def limit(seconds):
    "What takes longer counts as hanging"
    def stop(*_): raise TimeoutError(f'longer than {seconds} s')
    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def read(text):
    "A recipe that comes back unchanged, or None where it is refused"
    with limit(60):
        try:
            recipe = Recipe.from_yaml(text)
        except MLICError as e:
            assert str(e) and len(str(e)) < 20_000
            return None
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe == Recipe.from_json(recipe.to_json())
        for f in dataclasses.fields(Recipe): # of the type that is declared, and finite
            value = getattr(recipe, f.name)
            assert f.name.endswith('_args') and isinstance(value, str) or typed(f.name, value, f.type) == value
        return recipe


def test_every_field_with_every_odd_value():
    read_, n = 0, 0
    for field, value in itertools.product(FIELDS, VALUES):
        recipe = read(f'{field}: {value}')
        n, read_ = n + 1, read_ + (recipe is not None)
    print(f'\n{n} recipes of one field, {n - read_} refused, {read_} mean something, 0 raw')
    assert n > 1200 and read_ < n/3


@pytest.mark.parametrize('n', [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_recipes_of_several_odd_fields(n):
    r = random.Random(0)
    for _ in range(n):
        lines = [f'{r.choice(FIELDS)}: {r.choice(VALUES)}' for _ in range(r.randint(1, 4))]
        text = r.choice(['\n', '\n', '\n\t', '\r', ' ', '\n  ']).join(lines)
        read(text[:r.randrange(len(text) + 1)] if r.random() < .2 else text)


# ---- command lines --------------------------------------------------------------------------------------------------
WORDS = ['', ' ', '-', '--', '-1', '0', '1', '1.5', '1e-3', '1e20', 'nan', 'inf', 'none', 'None', 'true', 'x', 'abc',
         '"', "'", 'a=b', 'a=', '=a', '=', 'loss=', 'loss=,', 'loss=bce,', 'lr=1e-3,x', 'n=1,2', ',', ';', '|', '\\',
         '\t', '\n', 'a\nb', '../..', '/', '/dev/null', '/nonexistent/x', '~', '*', '$HOME', '%s', '{}', '{0}', '[',
         '[1,2]', 'a: 1', '{a: 1}', 'é', '\u2028', '\x1b[31m', 'x' * 300, '9' * 400, '--help', '-h', '--json',
         '--nope', '@file', 'data.csv', 'tiles']
COMMANDS = dict(
    check='--root --label-col --sep --group-col --labels-only', init='--root --out --sep', results='--store',
    train='--out --arch --weights --head --loss --size --bs --epochs --lr --seed', predict='--out --bs',
    evaluate='--root --sep', export='', app='--port', cache='--path --keep', synth='--n --size --seed',
    compare='--vary --store --jobs --metric --recipe ' + ' '.join(f'--{f}' for f in FIELDS))


POSITIONAL = dict(check=1, init=1, train=1, predict=2, evaluate=2, export=2, app=1, cache=1, synth=2)


class Computed(Exception):
    "A command was understood, and would now compute"


@pytest.fixture
def nothing_is_computed(monkeypatch, tmp_path):
    "What would take long, or write, raises `Computed`"
    monkeypatch.chdir(tmp_path)
    Path('data.csv').write_text('fname,labels\na.png,x\n')
    Path('tiles').mkdir()
    def stop(*args, **kwargs): raise Computed
    for name in ('mlic.compare.compare', 'mlic.training.policy.fit_policy', 'mlic.deploy.page.serve',
                 'mlic.data.synth.synth_xray', 'mlic.data.synth.synth_planet', 'mlic.data.synth.digit_scenes',
                 'mlic.training.learner.mlic_learner', 'mlic.data.audit.scan'):
        monkeypatch.setattr(name, stop)


def ended(words):
    "Exit status and stderr of a command; 0 where it would have computed"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limit(60):
        try:
            status = main([*words, '--debug'])
        except SystemExit as e:
            status = e.code
        except MLICError as e: # what `main` says without --debug
            status = 1
            print(f'mlic: {e}', file=err)
        except (Computed, OSError):
            status = 0
    return status, err.getvalue()


@pytest.mark.parametrize('n', [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_odd_command_lines_end_in_a_line(nothing_is_computed, n):
    r, count = random.Random(0), {}
    for _ in range(n):
        command = r.choice([*COMMANDS, 'compare', 'compare', 'train'])
        words = [command] if r.random() < .97 else [r.choice(WORDS)]
        places = POSITIONAL.get(command, 0) + r.choice([0]*9 + [-1, 1])
        words += [r.choice(['data.csv', 'tiles', 'ls', 'xray', *WORDS]) for _ in range(places)]
        for option in r.sample(COMMANDS[command].split(), min(r.randint(0, 3), len(COMMANDS[command].split()))):
            words += [f'{option}={r.choice(WORDS)}'] if r.random() < .9 else [option, r.choice(WORDS)]
        try:
            status, err = ended(words)
        except Exception as e:
            raise AssertionError(f'{words}: raw {type(e).__name__}: {e}') from e
        count[status] = count.get(status, 0) + 1
        assert status in (0, 1, 2), words
        assert status == 0 or err, words
    print(f'\n{n} command lines, by status: {count}; 0 raw')
    assert min(count[status] for status in (0, 1, 2)) > n/20


def test_a_wrong_metric_is_found_before_anything_is_computed(nothing_is_computed):
    status, err = ended(['compare', '--metric', 'nope', '--vary', 'loss=bce,lsep'])
    assert status == 1 and 'nope' in err
    assert ended(['compare', '--metric', 'ap_macro', '--vary', 'loss=bce,lsep'])[0] == 0


def test_odd_variants_are_refused_before_anything_is_computed(nothing_is_computed):
    for vary in ('loss=bce,nope', 'lr=1e-3,x', 'n=100,abc', 'head=linear,nope', 'arch=nope', 'seed=-1'):
        from mlic.compare.run import compare
        field, _, values = vary.partition('=')
        with pytest.raises(MLICError, match=field):
            compare(Recipe(), 'store', **{field: values.split(',')})
    assert not Path('store').exists()
