"""The pages about other tools, with the code that they show as text, where these tools are installed"""
import contextlib, importlib.util, json, re
from pathlib import Path
import pytest

PAGES = Path(__file__).resolve().parent.parent/'nbs'/'pages'
NEEDS = { # page -> packages of the code that it shows as text
    'beside_huggingface': ['transformers', 'accelerate'], 'beside_lightning': ['pytorch_lightning'],
    'beside_trackers': ['tensorboard', 'mlflow'], 'beside_fiftyone': ['fiftyone'], 'beside_arrays': ['jax'],
}


def blocks(page):
    "(code, packages it needs) in the order of the page: cells, and Python in the text"
    for cell in json.loads((PAGES/f'{page}.ipynb').read_text(encoding='utf-8'))['cells']:
        text = ''.join(cell['source'])
        if cell['cell_type'] == 'code':
            yield text, []
            continue
        for code in re.findall(r'^```python\n(.*?)^```', text, re.M | re.S):
            named = [p for p in NEEDS[page] if re.search(rf'\b{p}\b', code)]
            yield code, named or NEEDS[page][:1]


@pytest.mark.parametrize('page', NEEDS)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    "Cells always; what is shown as text where its packages are installed"
    monkeypatch.setenv('MLIC_CACHE', str(tmp_path/'cache'))
    monkeypatch.setenv('FIFTYONE_DATABASE_DIR', str(tmp_path/'fiftyone'))
    missing, names = set(), {}
    with contextlib.chdir(tmp_path):
        for code, packages in blocks(page):
            lacks = [p for p in packages if importlib.util.find_spec(p) is None]
            if lacks:
                missing |= set(lacks)
                continue
            code = re.sub(r'^fo\.launch_app.*$', '', code, flags=re.M)
            exec(compile(code, page, 'exec'), names)
    if missing:
        pytest.skip(f"the code in the text needs {', '.join(sorted(missing))}")
