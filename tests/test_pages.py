"""The code of the tutorial and of the how-to pages"""
import contextlib, json, re, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
import docs # noqa: E402


@pytest.mark.parametrize('path', docs.pages_run(), ids=lambda p: p.stem)
def test_page_runs(path, tmp_path):
    "The code of the tutorial and of the how-to pages, each in an empty folder"
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    with contextlib.chdir(tmp_path):
        CaptureShell(path='.').run_all(read_nb(path), exc_stop=True)


def test_code_that_is_not_run_says_why():
    "Python that a page shows as text comes after a line that begins with *Not run here*"
    for path in docs.pages_run() + sorted(docs.PAGES.glob('*.md')):
        if path.suffix == '.md':
            parts = [path.read_text(encoding='utf-8')]
        else:
            cells = json.loads(path.read_text(encoding='utf-8'))['cells']
            parts = [''.join(c['source']) for c in cells if c['cell_type'] == 'markdown']
        for md in parts:
            for m in re.finditer(r'^```python$', md, re.M):
                line = md[:m.start()].rstrip().rsplit('\n', 1)[-1]
                assert line.startswith('*Not run here'), f'{path.name}: code that is not run, without a reason'
