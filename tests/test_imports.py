"""Importing a part of the library loads what that part needs and nothing heavy beside it"""
import subprocess, sys

SCRIPT = """
import sys

def added(statement):
    "Packages, other than Python's own and mlic, that a statement has loaded"
    before = set(sys.modules)
    exec(statement, {})
    tops = {name.split('.')[0] for name in set(sys.modules) - before}
    return {t for t in tops if t not in sys.stdlib_module_names and t[0] != '_'} - {'mlic'}

alone = set(sys.modules)
exec('import mlic', {})
assert {m for m in set(sys.modules) - alone if not m.startswith('mlic')} == set(), 'import mlic loads other modules'
found = {statement: added(statement) for statement in [
    'import mlic.cli', 'import mlic.core', 'import mlic.store', 'import torch', 'import mlic.losses']}
del found['import torch']
print(found)
"""
ALLOWED = {'import mlic.cli': set(), 'import mlic.core': {'numpy'}, 'import mlic.store': {'filelock'},
           'import mlic.losses': set()} # each after those before it; torch is loaded before the losses


def test_each_part_loads_what_it_needs():
    "In one new process: the command nothing at all, core numpy, the store filelock, the losses torch"
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = eval(done.stdout) # a dict of sets that the script has printed
    extra = {statement: found[statement] - allowed for statement, allowed in ALLOWED.items()}
    assert not any(extra.values()), extra
