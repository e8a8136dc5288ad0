"""What the library is built from: versions and hashes agree, and nothing on the README is of others' address"""
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
import supply # noqa: E402


def test_one_version_of_each_package_and_a_hash_of_each_file():
    "constraints.txt, constraints.lock and settings.ini name the same packages and versions"
    found = list(supply.disagreements(environment=False))
    assert not found, found
    assert len(supply.locked()) > 200
    assert all(hashes for _, hashes in supply.locked().values())


def test_a_disagreement_is_found(tmp_path, monkeypatch):
    text = supply.LOCK.read_text()
    changes = [(r'^numpy==[\d.]+', 'numpy==0.1', 'numpy: '), (r'^numpy==[\d.]+ ', 'numpy>=1 ', 'numpy is not pinned'),
               (r'^numpy==.*?(?=^[a-z])', '', 'numpy is not installed|numpy'), (r'sha256:[0-9a-f]', 'md5:', 'md5:')]
    for pattern, other, said in changes[:2] + changes[3:]:
        monkeypatch.setattr(supply, 'LOCK', tmp_path/'lock')
        supply.LOCK.write_text(re.sub(pattern, other, text, count=1, flags=re.M | re.S))
        assert any(re.search(said, line) for line in supply.disagreements(environment=False)), said
    timm = re.sub(r'^timm==.*?(?=^[a-z])', '', text, flags=re.M | re.S)
    supply.LOCK.write_text(timm)
    assert 'timm of settings.ini is not in constraints.lock' in supply.disagreements(environment=False)


def test_every_licence_is_an_open_one_or_expected(capsys):
    assert supply.licenses(show=False) == 0, capsys.readouterr().out


def test_a_licence_that_is_not_open_is_named(monkeypatch, capsys):
    monkeypatch.setattr(supply, 'license_of', lambda p: 'Own terms' if p.name == 'timm' else 'MIT')
    assert supply.licenses(show=False) == 1 and 'timm: Own terms' in capsys.readouterr().out


def answer(monkeypatch, out, err=''):
    "What pip-audit answers"
    ran = subprocess.CompletedProcess([], 1, out, err)
    monkeypatch.setattr(supply.subprocess, 'run', lambda *args, **kw: ran)


def test_a_service_that_cannot_be_reached_is_not_a_pass_in_silence(monkeypatch, capsys):
    "Without a network nothing is looked up, and the output says so; a known vulnerability fails"
    answer(monkeypatch, '', 'requests.exceptions.ConnectionError: Max retries exceeded')
    assert supply.vulnerabilities() == 0 and 'SKIPPED' in capsys.readouterr().out
    answer(monkeypatch, '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}')
    assert supply.vulnerabilities() == 0 and 'SKIPPED' in capsys.readouterr().out
    answer(monkeypatch, '', 'ERROR: something else')
    assert supply.vulnerabilities() == 1
    answer(monkeypatch, '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X", "fix_versions": []}]}]}')
    assert supply.vulnerabilities() == 1 and 'a 1: X' in capsys.readouterr().out
    answer(monkeypatch, '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}')
    assert supply.vulnerabilities() == 0 and '1 of 1 packages looked up' in capsys.readouterr().out


@pytest.mark.slow
def test_pip_refuses_a_file_whose_hash_is_another(tmp_path):
    "Needs a package index; `--require-hashes` is what `make` installs with"
    r, hashes = supply.locked()['tabulate']
    command = [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '--require-hashes', '-d', tmp_path, '-r']
    right, wrong = tmp_path/'right.txt', tmp_path/'wrong.txt'
    right.write_text(f"{r} {' '.join('--hash=' + h for h in hashes)}\n")
    wrong.write_text(f"{r} --hash=sha256:{'0'*64}\n")
    if subprocess.run([*command, right], capture_output=True).returncode:
        pytest.skip('no package index can be reached')
    res = subprocess.run([*command, wrong], capture_output=True, text=True)
    assert res.returncode and 'DO NOT MATCH THE HASHES' in res.stderr


@pytest.mark.slow
def test_the_wheel_has_a_bill_of_materials(tmp_path, monkeypatch):
    pytest.importorskip('cyclonedx_py')
    monkeypatch.setattr(supply, 'DIST', tmp_path)
    assert supply.sbom() == 0
    import json
    found = json.loads(next(tmp_path.glob('*.cdx.json')).read_text())
    names = {c['name'].lower() for c in found['components']}
    assert {'torch', 'fastai', 'timm'} <= names and not names & {'pytest', 'nbdev', 'ray'}
    assert found['metadata']['component']['name'] == 'mlic' and list(tmp_path.glob('*.whl'))


def test_addresses_of_the_readme_are_of_known_places():
    "No address that someone else could register"
    allowed = r'(github\.com/mlic/mlic|mlic\.github\.io|arxiv\.org|doi\.org|docs\.fast\.ai|pytorch\.org|pypi\.org)'
    found = re.findall(r'https?://[^\s)>\]"\']+', (ROOT/'README.md').read_text())
    assert not (odd := [u for u in found if not re.match('https?://' + allowed, u)]), odd
