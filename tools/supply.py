"""What the library is built from: `python tools/supply.py lock|check|audit|licenses|sbom`

lock      constraints.lock: every package of constraints.txt with the SHA-256 of each of its files
check     do constraints.txt, constraints.lock, settings.ini and the environment agree?  (no network)
audit     check, known vulnerabilities (pip-audit), licences; what cannot be reached is said, and skipped
licenses  a line per package: version, licence, whether the wheel needs it
sbom      the wheel and its CycloneDX bill of materials in dist/
"""
import argparse, importlib.metadata as installed, json, re, subprocess, sys, tempfile
from configparser import ConfigParser
from pathlib import Path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS, LOCK, DIST = ROOT/'constraints.txt', ROOT/'constraints.lock', ROOT/'dist'
EXTRAS = 'dev', 'dask', 'accelerate', 'onnx', 'app', 'serve', 'dicom', 'parquet', 'sign', 'audit' # of `make test`
PYTHON = '3.11.5' # the oldest for which the packages of constraints.txt are there
HEADER = '''# Every package that `make` installs, with the SHA-256 of each of its files, for every platform.
# Written from constraints.txt by `python tools/supply.py lock`; do not edit.
'''
# a licence that names one of these lets anyone use, change and pass on the package within other software
OPEN = re.compile(r'MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Zlib|CC0|any-OSI', re.I)
OWN_TERMS = re.compile(r'nvidia-|cuda-') # NVIDIA's own licence; torch brings them on Linux


def settings(): # settings.ini, which setup.py reads
    "The section of settings.ini"
    config = ConfigParser(delimiters=['='])
    config.read(ROOT/'settings.ini', encoding='utf-8')
    return config['DEFAULT']


def required(*extras):
    "The requirements of the wheel, and of some extras"
    names = ['requirements', *(f'{e}_requirements' for e in extras)]
    return [Requirement(r) for n in names for r in settings()[n].split()]


def pinned():
    "constraints.txt: name -> version"
    lines = [line.split('==') for line in CONSTRAINTS.read_text().splitlines() if '==' in line]
    return {canonicalize_name(name): version.strip() for name, version in lines}


def locked():
    "constraints.lock: name -> (requirement, its hashes)"
    text = re.sub(r'^#.*\n', '', LOCK.read_text(), flags=re.M).replace('\\\n', ' ')
    found = {}
    for line in text.splitlines():
        requirement, *hashes = line.split('--hash=')
        if requirement.strip():
            r = Requirement(requirement.strip())
            found[canonicalize_name(r.name)] = r, [h.strip() for h in hashes]
    return found


# ---- commands -----------------------------------------------------------------------------------------------
def lock():
    "Write constraints.lock"
    extras = [word for e in EXTRAS for word in ('--extra', e)]
    how = ['--universal', '--generate-hashes', '--no-annotate', '--no-header', '--no-emit-package', 'pip']
    command = [sys.executable, '-m', 'uv', 'pip', 'compile', 'setup.py', '-q', *how, '--python-version', PYTHON,
               '--refresh-package', settings()['lib_name'], '-c', CONSTRAINTS.name, *extras]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    LOCK.write_text(HEADER + text)
    return check()


def disagreements(environment=True):
    "Sentences: where constraints.txt, constraints.lock, settings.ini and (if asked) the environment differ"
    pins, lock = pinned(), locked()
    for name, (r, hashes) in lock.items():
        version = str(r.specifier).removeprefix('==')
        if not str(r.specifier).startswith('==') or '*' in version:
            yield f'{name} is not pinned: {r}'
        if not hashes:
            yield f'{name}: constraints.lock has no hash'
        if odd := [h for h in hashes if not re.fullmatch('sha256:[0-9a-f]{64}', h)]:
            yield f'{name}: {odd[0]}'
        if pins.get(name, version) != version:
            yield f'{name}: {pins[name]} in constraints.txt, {version} in the lock'
        if name not in pins and (not r.marker or r.marker.evaluate()) and name not in ('setuptools', 'wheel'):
            yield f'{name} is in constraints.lock alone'
        if not environment or name in ('setuptools', 'wheel') or r.marker and not r.marker.evaluate():
            continue
        try:
            here = installed.version(name)
        except installed.PackageNotFoundError:
            yield f'{name} is not installed'
        else:
            if here != version:
                yield f'{name}: {here} is installed, the lock has {version}'
    for r in required(*EXTRAS):
        name = canonicalize_name(r.name)
        if name not in lock:
            yield f'{name} of settings.ini is not in constraints.lock'
        elif not r.specifier.contains(str(lock[name][0].specifier).removeprefix('==')):
            yield f'{name}: settings.ini asks for {r.specifier}'


def check():
    "Print what disagrees; the exit status"
    found = list(disagreements())
    for line in found:
        print(f'check: {line}')
    if not found:
        print(f'check: {len(locked())} packages, one version of each, every file with its hash')
    return int(bool(found))


def vulnerabilities():
    "Ask pip-audit about every locked package; the exit status, 0 where no service could be reached"
    command = [sys.executable, '-m', 'pip_audit', '-r', LOCK, '--require-hashes', '--disable-pip', '-f', 'json',
               '--progress-spinner', 'off']
    ran = subprocess.run(command, capture_output=True, text=True)
    try:
        found = json.loads(ran.stdout)['dependencies']
    except (ValueError, KeyError):
        last = (ran.stderr.strip().splitlines() or ['no answer'])[-1]
        print(f'vulnerabilities: SKIPPED, nothing was looked up: {last[:200]}')
        return 0 if re.search(r'Connection|resolve|Timeout|unreachable|No module named', last) else 1
    asked = [d for d in found if 'skip_reason' not in d]
    bad = [d for d in asked if d['vulns']]
    for d in bad:
        fixed = [v for u in d['vulns'] for v in u['fix_versions']]
        names = ', '.join(u['id'] for u in d['vulns'])
        print(f"vulnerabilities: {d['name']} {d['version']}: {names}; fixed in {', '.join(fixed) or 'no version'}")
    if not asked:
        print(f'vulnerabilities: SKIPPED, the service knows none of the {len(found)} packages; no network?')
    else:
        unknown = [d['name'] for d in found if 'skip_reason' in d]
        rest = f"; not known to the service: {', '.join(unknown)}" if unknown else ''
        print(f'vulnerabilities: {len(asked)} of {len(found)} packages looked up, {len(bad)} with a known one{rest}')
    return int(bool(bad))


def license_of(package):
    "The licence that an installed package states"
    meta = package.metadata
    if text := meta.get('License-Expression'):
        return text
    kinds = [c.split(' :: ')[-1] for c in meta.get_all('Classifier', []) if c.startswith('License ::')]
    return ' / '.join(kinds) or (meta.get('License') or '').split('\n')[0][:60] or 'not stated'


def closure(requirements):
    "Names of the installed packages that requirements bring with them"
    todo, seen = list(requirements), set()
    while todo:
        r = todo.pop()
        name = canonicalize_name(r.name)
        if name in seen or r.marker and not any(r.marker.evaluate(dict(extra=e)) for e in ('', *r.extras)):
            continue
        try:
            more = installed.requires(name) or []
        except installed.PackageNotFoundError:
            continue
        seen.add(name)
        more = [Requirement(m) for m in more]
        todo += [m for m in more if not m.marker or any(m.marker.evaluate(dict(extra=e)) for e in ('', *r.extras))]
    return seen


def licenses(show=True):
    "A line per package that is locked and installed; the exit status: is one of them neither open nor expected?"
    wheel, odd, n = closure(required()), [], 0
    for name in sorted(locked()):
        try:
            package = installed.distribution(name)
        except installed.PackageNotFoundError:
            continue
        n, text = n + 1, license_of(package)
        if not OPEN.search(text) and not OWN_TERMS.match(name):
            odd.append(f'{name}: {text}')
        if show:
            print(f"{name:32} {package.version:16} {'wheel' if name in wheel else 'development':12} {text}")
    for line in odd:
        print(f'licences: {line}; is it one that allows use and redistribution?')
    print(f"licences: {n} packages, {len(odd)} to look at; NVIDIA's libraries, which torch needs, have its own")
    return int(bool(odd))


def sbom():
    "Build the wheel, and write a CycloneDX list of what it needs, with licences and dependencies; the exit status"
    def run(*command): subprocess.run([sys.executable, *map(str, command)], check=True, cwd=ROOT)
    run('-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', DIST, ROOT)
    s = settings()
    name = f"{s['lib_name']}-{s['version']}"
    with tempfile.TemporaryDirectory() as tmp: # an environment that has the wheel's packages as descriptions alone
        tmp = Path(tmp)
        run('-m', 'venv', '--without-pip', tmp/'env')
        site = next((tmp/'env').glob('lib/*/site-packages'))
        for package in closure(required()):
            files = installed.distribution(package).files or []
            info = next(Path(f.locate()).parent for f in files if f.name == 'METADATA')
            (site/info.name).symlink_to(info.resolve())
        listed = '", "'.join(s['requirements'].split())
        (tmp/'pyproject.toml').write_text(f'[project]\nname = "{s["lib_name"]}"\nversion = "{s["version"]}"\n'
                                          f'license = "Apache-2.0"\ndependencies = ["{listed}"]\n')
        file = DIST/f'{name}.cdx.json'
        run('-m', 'cyclonedx_py', 'environment', '--pyproject', tmp/'pyproject.toml', '--mc-type',
            'library', '--output-reproducible', '--of', 'JSON', '-o', file, tmp/'env'/'bin'/'python')
    found = json.loads(file.read_text())
    print(f"{file.name}: {len(found['components'])} packages that {name} brings with it")
    return 0


def audit():
    "All checks; the exit status"
    return max([check(), vulnerabilities(), licenses(show=False)])


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = dict(lock=lock, check=check, audit=audit, licenses=licenses, sbom=sbom)
    parser.add_argument('what', choices=commands)
    sys.exit(commands[parser.parse_args().what]())
